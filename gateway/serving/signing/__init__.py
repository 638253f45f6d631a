"""The process that alone has the issuing CAs' keys, and the way to it for whoever serves."""
