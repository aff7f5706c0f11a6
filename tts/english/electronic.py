"""Addresses of the web and of e-mail, versions, file names and paths."""

from __future__ import annotations

import re

from tts.english.numbers import cardinal, digits, letters
from tts.english.word_lists import words
from tts.grammar import Rule

_NAMES = {
    ".": "dot",
    "@": "at",
    "/": "slash",
    "\\": "backslash",
    "-": "dash",
    "_": "underscore",
    ":": "colon",
    "+": "plus",
    "~": "tilde",
    "#": "hash",
    "?": "question mark",
    "=": "equals",
    "&": "and",
    "%": "percent",
}
_MAX_PATH = 30
"""A longer path is read on the screen or not at all."""
_TLD = (
    r"(?:com|org|net|edu|gov|mil|int|info|biz|io|dev|ai|app|co|me|tv|us|uk|ca|de|fr|es|it|nl|be|ch|at|eu|"
    r"se|no|dk|fi|pl|cz|ie|pt|ru|jp|cn|in|au|nz|za|br|mx|xyz|online|site|shop|store|tech|cloud|blog|gg|"
    r"ly|fm|to|so|sh|page|health|bank|travel|museum|news|live|email|agency|NET|COM|ORG)"
)
_AMBIGUOUS_TLD = re.compile(
    r"\.(?:in|it|me|at|so|no|to|be|us|page|live|news|store|site|bank)$", re.I
)
_EXTENSION = (
    r"(?:html?|css|js|jsx|tsx?|mjs|json|jsonl|ya?ml|toml|xml|csv|tsv|txt|md|rst|pdf|docx?|xlsx?|pptx?|py|ipynb|"
    r"java|cpp|hpp|cs|go|rs|rb|php|sh|bat|exe|dll|zip|tar|gz|rar|mp3|mp4|wav|ogg|flac|png|jpe?g|gif|svg|"
    r"webp|bmp|ico|mov|avi|mkv|log|ini|cfg|conf|env|sql|db|onnx|gguf|safetensors|ics|vcf|lock)"
)
_WORDS = words(
    """
    com org net edu gov info biz dev app online site shop store tech cloud blog page health bank
    travel museum news live email agency json java env log lock go zip tar exe flac ogg wav py co
    """
)
_SPELLED_PAIRS = words(
    """
    io ai uk us eu de fr es nl ch jp cn au nz za br mx tv fm ca js ts md cs rs
    """
)


def _piece(text: str) -> str:
    """A run of letters as a word, or letter by letter where it cannot be a word."""
    lower = text.lower()
    if lower in _WORDS:
        return text
    if lower in _SPELLED_PAIRS or len(text) == 1 or not re.search(r"[aeiouyAEIOUY]", text):
        return letters(text)
    return text


def spelled(address: str) -> str:
    """An address in words: signs by name, digits one by one."""
    said = []
    for piece in re.findall(r"[^\W\d_]+|\d+|[^\w\s]|_", address):
        if piece.isdecimal():
            said.append(digits(piece))
        else:
            said.append(
                _NAMES[piece] if piece in _NAMES else _piece(piece) if piece.isalpha() else ""
            )
    return " ".join(filter(None, said))


def _email(match: re.Match[str]) -> str:
    return spelled(match.group())


def _url(match: re.Match[str]) -> str:
    address = re.sub(r"^(?:[a-z]+://)?(?:www\.)?", "", match.group(), flags=re.IGNORECASE)
    host, _, path = address.partition("/")
    path = re.split(r"[?#]", path)[0].rstrip("/")
    return spelled(f"{host}/{path}" if path and len(path) <= _MAX_PATH else host)


def _domain(match: re.Match[str]) -> str | None:
    host = match["host"]
    if _AMBIGUOUS_TLD.search(host) and (host != host.lower() or host.count(".") > 3):
        return None
    if re.fullmatch(r"[\d.]+", host):
        return None
    return _url(match)


def _version(match: re.Match[str]) -> str | None:
    """Say "v2.0.1", "3.5.1", "17.4.1"; "1.234.567" is a number."""
    if not match["v"] and re.fullmatch(r"[1-9]\d{0,2}(?:\.\d{3}){2,}", match["n"]):
        return None
    name = (
        "version "
        if match["v"] and not re.search(r"\bversion\s$", match.string[: match.start()], re.I)
        else ""
    )
    tail = f" {match['tail'].lstrip('-.')}" if match["tail"] else ""
    return name + " point ".join(_number(part) for part in match["n"].split(".")) + tail


def _number(text: str) -> str:
    return (
        digits(text) if len(text) > 3 or (text[0] == "0" and len(text) > 1) else cardinal(int(text))
    )


def _dotted_quad(match: re.Match[str]) -> str | None:
    """An IPv4 address, with port or prefix length."""
    parts = match["ip"].split(".")
    if any(int(part) > 255 for part in parts):
        return None
    said = " dot ".join(map(digits, parts))
    if match["rest"]:
        name = "port" if match["rest"][0] == ":" else "slash"
        said += f" {name} {digits(match['rest'])}"
    return said


def _port(match: re.Match[str]) -> str:
    port = match["port"]
    said = cardinal(int(port)) if port.endswith("000") else digits(port)
    return f"{spelled(match['host'])} port {said}"


def _file(match: re.Match[str]) -> str:
    return spelled(match.group())


def _path(match: re.Match[str]) -> str:
    return spelled(match.group())


def _handle(match: re.Match[str]) -> str:
    return f"at {spelled(match.group()[1:])}"


def _hashtag(match: re.Match[str]) -> str:
    name = match.group()[1:]
    if re.fullmatch(r"[A-Z]{1,5}\d+", name):
        return f"number {letters(name)}"
    words = re.findall(r"[^\W\d_]+|\d+", name)
    return " ".join(["hashtag", *(_number(w) if w.isdecimal() else w for w in words)])


def _dot_word(match: re.Match[str]) -> str:
    return f"dot {_piece(match.group()[1:])}"


def _software_version(match: re.Match[str]) -> str:
    """Say "Python 3.11": both parts are numbers; a decimal would lose the order of versions."""
    return f"{match['name']} {_number(match['a'])} point {_number(match['b'])}"


def _standard(match: re.Match[str]) -> str:
    """Say "802.11ac"."""
    return f"eight oh two point {cardinal(int(match['n']))} {letters(match['l'])}".strip()


def _hex_code(match: re.Match[str]) -> str | None:
    """Hardware addresses, IPv6 and identifiers such as UUIDs."""
    text = match.group()
    if not re.search(r"[a-fA-F]", text) and "::" not in text:
        return None
    said = [
        "colon" if piece == ":" else letters(piece) for piece in re.findall(r":|[0-9A-Fa-f]+", text)
    ]
    return ", ".join(word for word in said if word != "colon") if "-" in text else " ".join(said)


_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?"
_TAIL = r"(?:/[^\s<>()\"',;!?]*[^\s<>()\"'.,;:!?])?/?"
_SOFTWARE = (
    "Python|Java|Node|Ruby|PHP|Go|Rust|Swift|Kotlin|Ubuntu|Debian|Android|iOS|iPadOS|macOS|OS|Linux|kernel|"
    "Django|React|Angular|Postgres|PostgreSQL|MySQL|CUDA|PyTorch|TensorFlow|Bluetooth|USB|HDMI|TLS|"
    "HTTP|Unity|Chrome|Firefox|Safari|Version|version|release|Release|v\\."
)
ADDRESSES = (
    Rule(r"(?<![\w.@+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+", _email, starts="dls"),
    Rule(r"(?i:https?|ftp|wss?|ssh)://[^\s<>()\"']*[^\s<>()\"'.,;:!?*_]", _url, starts="l"),
    Rule(r"(?<![\w.@])www\.[^\s<>()\"']*[^\s<>()\"'.,;:!?*_]", _url, starts="l"),
    Rule(
        rf"(?<![\w.@/-])(?P<host>(?:{_LABEL}\.){{1,8}}{_TLD})(?![\w-]|\.\w|@)(?::\d{{2,5}})?{_TAIL}",
        _domain,
        starts="dl",
    ),
)
"""Addresses that hold what other rules would take for numbers; they come first."""
RULES = (
    Rule(r"802\.(?P<n>\d{1,2})(?P<l>[a-z]{0,2})(?!\w)", _standard),
    Rule(
        r"(?<![\w.])(?P<ip>\d{1,3}(?:\.\d{1,3}){3})(?P<rest>[:/]\d{1,5})?(?![\w]|\.\d)",
        _dotted_quad,
    ),
    Rule(r"(?<![\w.])(?P<host>[a-z][\w-]*):(?P<port>\d{2,5})(?![\w:]|\.\d)", _port, starts="l"),
    Rule(
        r"(?<![\w:-])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}(?![\w:])", _hex_code, starts="dls"
    ),
    Rule(
        r"(?<![\w-])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![\w-])",
        _hex_code,
        starts="dl",
    ),
    Rule(
        r"(?<![\w.])(?P<v>v\.?\s?)?(?P<n>\d+(?:\.\d+){2,}|(?<=v)\d+(?:\.\d+)+|(?<=v)\d+)"
        r"(?P<tail>-?(?:alpha|beta|rc)\.?)?(?![\w]|\.\d)",
        _version,
        starts="dl",
    ),
    Rule(
        rf"(?<!\w)(?P<name>{_SOFTWARE})\s(?P<a>\d+)\.(?P<b>[1-9]\d+)(?![\w.]*\d)",
        _software_version,
        starts="l",
    ),
    Rule(rf"(?<![\w./])[\w-]+(?:\.[\w-]+)*\.{_EXTENSION}(?![\w]|\.\w)", _file, starts="dl"),
    Rule(
        r"(?<![\w./<])(?:~|\.{1,2})?/(?:[\w.-]+/)+[\w.-]*\w/?|(?<![\w./<])/[A-Za-z][\w-]+(?:/[\w.-]+)+",
        _path,
        starts="s",
    ),
    Rule(r"(?<!\w)[A-Za-z]:\\(?:[\w .-]+\\)*[\w.-]*\w", _path, starts="l"),
    Rule(r"(?<![\w@])@[A-Za-z_]\w{1,30}(?!\w|\.\w|@)", _handle, starts="s"),
    Rule(r"(?<![\w#&])#[A-Za-z]\w*", _hashtag, starts="s"),
    Rule(rf"(?<![\w.])\.(?:{_TLD}|{_EXTENSION}|NET)(?!\w|\.)", _dot_word, starts="s"),
)
