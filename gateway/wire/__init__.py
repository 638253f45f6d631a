"""HTTP/1.1: where one request ends and the next begins, what a head must look like, the pages' handler."""
