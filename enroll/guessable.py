"""How soon a chosen password is guessed: zxcvbn's estimate, with the words that people in Japan choose.

zxcvbn knows English words, names, years, keyboards and repetitions. The list here adds what it does not
know: Japanese in Roman letters. A login takes the certificate too, and guesses are counted: what is kept out
is what a colleague, or a list of the commonest passwords, gets right within those few.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zxcvbn import matching, scoring

#: Guesses below which a password is refused: what eight letters at random have (zxcvbn: ten for each).
_FEWEST = 10**8
# Characters that are looked at together: the work grows faster than they do. A password is at least as hard
# to guess as the hardest of its windows.
_WINDOW = 24
# All but zxcvbn's own search for digits and signs in the place of letters, which tries every combination of
# them: somebody's choice of 72 keeps a core busy for twenty seconds.
_MATCHERS = (
    matching.dictionary_match,
    matching.reverse_dictionary_match,
    matching.spatial_match,
    matching.repeat_match,
    matching.sequence_match,
    matching.regex_match,
    matching.date_match,
)
_LIKE_LETTERS = str.maketrans("4@0315$7!", "aaoeisstl")

# The likelier come first: a word's place is the number of guesses that it takes.
_WORDS = """
nihon nippon japan tokyo sakura nenkin kikin kigyo kigyou nenkinkikin hoken kaisha kabushiki jimu jinji soumu
somu keiri tantou tantousha kanri kanrisha kanrinin pasuwado pasuwaado anshou ango himitsu hirake goma kagi
shomei shoumei shoumeisho shomeisho shinsei koushin toroku touroku riyou riyousha saabisu onrain pasokon
kakutei kyufu kyuufu nenkinsha shisan unyou seimei meiji yasuda mitsubishi mitsui sumitomo mizuho
taro tarou jiro jirou saburo hanako ichiro ichirou kenji kenta takashi hiroshi satoshi makoto minoru shigeru
kazuo yoshio masao akira hideki kazuki daisuke shota shouta daiki takuya naoki tatsuya tomoya yuki yuuki yuta
yuuta sho kenichi shinji koji kouji yuji yuuji ryo ryou ryota ryouta haruto sota souta yuto yuuto haruki riku
hinata minato ren aoi hina yui mei sakurako yoko youko keiko kazuko kyoko kyouko michiko tomoko noriko junko
akiko yumiko emiko mariko naoko reiko mayumi kumiko yukiko hiroko ayumi megumi emi mai misaki nanami haruka
sayaka asuka ayaka kaori mika miki rie rina rika eri yuka yukari ai aya asami chihiro satomi momoko hanae
sato satou suzuki takahashi tanaka ito itou watanabe yamamoto nakamura kobayashi kato katou yoshida yamada
sasaki yamaguchi matsumoto inoue kimura hayashi saito saitou shimizu yamazaki yamasaki mori abe ikeda
hashimoto ishikawa yamashita ogawa ishii hasegawa goto gotou okada kondo kondou maeda fujita endo endou aoki
sakamoto murakami ota ohta oota kaneko fujii fukuda nishimura miura takeuchi nakagawa okamoto matsuda harada
nakano ono tamura fujiwara nakayama ishida kojima wada morita uchida shibata sakai miyazaki kudo kudou
yokoyama miyamoto ueda takagi ando andou taniguchi ohno oono maruyama imai takada fujimoto takeda murata ueno
sugiyama masuda hirano otsuka ohtsuka sugawara kubo matsui chiba iwasaki sakurai kinoshita noguchi matsuo
kikuchi nomura arai watabe honda toyota nissan suzu yamaha sony nintendo hitachi toshiba panasonic fujitsu
hokkaido hokkaidou aomori iwate miyagi akita yamagata fukushima ibaraki tochigi gunma saitama kanagawa niigata
toyama fukui yamanashi nagano gifu shizuoka aichi mie shiga kyoto kyouto osaka oosaka hyogo hyougo nara
wakayama tottori shimane okayama hiroshima tokushima kagawa ehime kochi kouchi fukuoka saga nagasaki kumamoto
oita ooita kagoshima okinawa sapporo sendai yokohama kawasaki nagoya kobe koube kanazawa kawaguchi shinjuku
shibuya ginza ueno asakusa ikebukuro akihabara shinagawa kasumigaseki marunouchi otemachi nihonbashi roppongi
fujisan fuji asahi hikari nozomi kodama hayabusa tsubame kirin sapporo yebisu
hana haru natsu aki fuyu sora umi yama kawa mori kaze hoshi tsuki taiyo taiyou yuki ame kumo niji hikari kage
inu neko tori sakana uma ushi tora usagi kuma kitsune tanuki saru hebi ryu ryuu pochi shiro kuro tama momo
koko choko maron sora leo ringo mikan ichigo budo budou suika kaki nashi ume momiji kiku ran tsubaki ajisai
himawari sumire tanpopo sushi ramen udon soba tempura tenpura onigiri bento bentou ocha matcha sake biiru
gohan miso natto nattou tofu toufu wasabi yakitori karaage tonkatsu takoyaki okonomiyaki
konnichiwa ohayo ohayou konbanwa sayonara sayounara arigato arigatou daisuki aishiteru suki kawaii kirei
genki yume kibou kibo ai kokoro inochi heiwa shiawase ganbare ganbaru ganbatte yoroshiku hajimemashite
onegai onegaishimasu tomodachi kazoku okaasan otousan musume musuko tanjobi tanjoubi kodomo watashi boku ore
anata kimi minna baka aho dame yabai sugoi
samurai ninja bushido bushidou katana shogun shougun sumo sumou judo juudou karate kendo kendou aikido yakyu
yakyuu sakka tenisu gorufu hanshin tigers kyojin giants hawks carp dragons swallows baystars marines buffaloes
fighters eagles pokemon pikachu doraemon anpanman totoro ghibli naruto onepiece luffy gundam evangelion
dragonball conan kitty hellokitty mario zelda kimetsu tanjiro nezuko goku
meiji taisho taishou showa shouwa heisei reiwa
ichi ni san yon shi go roku nana shichi hachi kyu kyuu ju juu hyaku sen man
aiueo kakikukeko sashisuseso tachitsuteto irohanihoheto iroha abcde asdf zaq12wsx qazwsx
"""
_RANKED = matching.build_ranked_dict(dict.fromkeys(_WORDS.split()))


def guesses(password: str, known: Iterable[str] = ()) -> float:
    """About how many guesses find the password. ``known``: what whoever guesses knows of its user."""
    dictionaries: dict[str, Any] = {
        **matching.RANKED_DICTIONARIES,
        "user_inputs": matching.build_ranked_dict([word.lower() for word in known if word]),
        "japanese": _RANKED,
    }
    starts = range(0, max(1, len(password)), _WINDOW)
    return max(_guesses(password[start : start + _WINDOW], dictionaries) for start in starts)


def is_guessable(password: str, known: Iterable[str] = ()) -> bool:
    """Whether a password is one that is soon guessed."""
    return guesses(password, known) < _FEWEST


def _guesses(part: str, dictionaries: dict[str, Any]) -> float:
    """As it stands, or with the letters that its digits and signs stand for, whichever is guessed sooner."""
    return min(_sequence(each, dictionaries) for each in {part, part.translate(_LIKE_LETTERS)})


def _sequence(part: str, dictionaries: dict[str, Any]) -> float:
    found = [match for matcher in _MATCHERS for match in matcher(part, _ranked_dictionaries=dictionaries)]
    return float(scoring.most_guessable_match_sequence(part, found)["guesses"])
