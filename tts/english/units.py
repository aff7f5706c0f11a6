"""Names of units of measurement, of currencies and of what comes after "per"."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLURALS = {
    "foot": "feet",
    "inch": "inches",
    "hertz": "hertz",
    "kilohertz": "kilohertz",
    "megahertz": "megahertz",
    "gigahertz": "gigahertz",
    "terahertz": "terahertz",
    "horsepower": "horsepower",
    "percent": "percent",
    "Celsius": "Celsius",
    "century": "centuries",
    "lux": "lux",
    "siemens": "siemens",
    "per mille": "per mille",
    "rpm": "R P M",
}
_NAMES = """
km kilometer|m meter|cm centimeter|mm millimeter|µm micrometer|μm micrometer|nm nanometer
dm decimeter
mi mile|mi. mile|ft foot|ft. foot|in. inch|yd yard|yds yard|nmi nautical mile|ly light year
kg kilogram|g gram|mg milligram|µg microgram|μg microgram|mcg microgram|t ton|lb pound|lb. pound
lbs pound|lbs. pound|oz ounce|oz. ounce|ct carat|fl oz fluid ounce|fl. oz. fluid ounce
L liter|l liter|mL milliliter|ml milliliter|cl centiliter|dl deciliter|dL deciliter|hl hectoliter
gal gallon|gal. gallon|qt quart|pt pint|tbsp tablespoon|tbsp. tablespoon|tsp teaspoon
tsp. teaspoon|c. cup|Tbsp tablespoon
GHz gigahertz|MHz megahertz|kHz kilohertz|KHz kilohertz|Hz hertz|THz terahertz
kWh kilowatt hour|MWh megawatt hour|GWh gigawatt hour|TWh terawatt hour|Wh watt hour
kW kilowatt|MW megawatt|GW gigawatt|TW terawatt|mW milliwatt|W watt|kV kilovolt|mV millivolt|V volt
mAh milliampere hour|Ah ampere hour|mA milliampere|Ω ohm|Ω ohm|kΩ kiloohm|kJ kilojoule
MJ megajoule|J joule
kcal kilocalorie|cal calorie|kPa kilopascal|hPa hectopascal|MPa megapascal|Pa pascal|mbar millibar
bar bar|psi pound per square inch|atm atmosphere|mmHg millimeter of mercury|N newton|Nm newton meter
hp horsepower|dB decibel|dBm decibel milliwatt|lm lumen|lx lux|cd candela|mol mole|mmol millimole
TB terabyte|GB gigabyte|MB megabyte|KB kilobyte|kB kilobyte|PB petabyte|TiB tebibyte|GiB gibibyte
MiB mebibyte|KiB kibibyte|Gb gigabit|Mb megabit|kb kilobit
Gbps gigabit per second|Mbps megabit per second|kbps kilobit per second|Kbps kilobit per second
bps bit per second|Gbit/s gigabit per second|Mbit/s megabit per second|MB/s megabyte per second
GB/s gigabyte per second|fps frame per second|rpm revolution per minute|bpm beat per minute
mph mile per hour|kph kilometer per hour|kmh kilometer per hour|mpg mile per gallon|knots knot
kn knot
dpi dot per inch|ppm part per million|ppi pixel per inch|px pixel|pts point|ft-lb foot pound
ms millisecond|µs microsecond|μs microsecond|ns nanosecond|s second|sec second|sec. second
secs second|min minute|mins minute|min. minute|mins. minute|h hour|hr hour|hr. hour|hrs hour
hrs. hour|wk week|wks week|mo month|mos month|yr year|yr. year|yrs year|yrs. year
ha hectare|ac acre|acres acre|sq ft square foot|sq. ft. square foot|sqft square foot
sq m square meter
sq mi square mile|sq. mi. square mile|sq km square kilometer|sq in square inch|sq yd square yard
cu ft cubic foot|cu m cubic meter|cc cubic centimeter|Mpix megapixel|MP megapixel
% percent|‰ per mille|°C degree Celsius|°F degree Fahrenheit|°K kelvin|º degree|° degree|K kelvin
° C degree Celsius|° F degree Fahrenheit|ºC degree Celsius|ºF degree Fahrenheit
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit's name with its plural."""

    one: str
    many: str

    def form(self, singular: bool) -> str:
        return self.one if singular else self.many


def _unit(name: str) -> Unit:
    head, space, tail = name.partition(" per ")
    if not space:
        head, space, tail = name.partition(" of ")
    if head in ("degree Celsius", "degree Fahrenheit"):
        return Unit(head, head.replace("degree", "degrees"))
    *first, last = head.split(" ")
    many = _PLURALS.get(last, _PLURALS.get(head, f"{last}s"))
    return Unit(name, " ".join([*first, many]) + space + tail)


def _read(names: str) -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for entry in re.split(r"[|\n]", names.strip()):
        found = re.fullmatch(r"((?:fl|sq|cu|fl\.|sq\.|[°º])? ?\S+) (.+)", entry)
        if found is None:
            raise ValueError(f"not a unit: {entry!r}")
        units[found[1]] = _unit(found[2])
    units["%"], units["‰"] = Unit("percent", "percent"), Unit("per mille", "per mille")
    return units


UNITS = _read(_NAMES)
_POWERS = {"²": "square", "2": "square", "^2": "square", "³": "cubic", "3": "cubic", "^3": "cubic"}
_LENGTHS = ("km", "m", "cm", "mm", "ft", "in", "mi", "yd", "dm")
for _length in _LENGTHS:
    for _mark, _power in _POWERS.items():
        UNITS[_length + _mark] = _unit(
            f"{_power} {_unit('inch').one if _length == 'in' else UNITS[_length].one}"
        )
del _length, _mark, _power
UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
PER = {
    "h": "hour",
    "hr": "hour",
    "hrs": "hour",
    "s": "second",
    "s²": "second squared",
    "s^2": "second squared",
    "s2": "second squared",
    "sec": "second",
    "min": "minute",
    "mo": "month",
    "mth": "month",
    "yr": "year",
    "wk": "week",
    "d": "day",
    "pp": "person",
    "ea": "each",
    "in": "inch",
}
"""Names after a slash, beside those of the units."""


def per(text: str) -> str:
    """The name of a unit after a slash: "kilometer" of "km", "month" of "month"."""
    if text in PER:
        return PER[text]
    return UNITS[text].one if text in UNITS else text


@dataclass(frozen=True, slots=True)
class Currency:
    """Names of a currency and of its hundredth part."""

    one: str
    many: str
    cent: str
    cents: str


def _currency(one: str, many: str | None = None, cent: str = "cent", cents: str = "") -> Currency:
    return Currency(one, many or f"{one}s", cent, cents or f"{cent}s")


_DOLLAR = _currency("dollar")
_US_DOLLAR = _currency("US dollar")
_EURO = _currency("euro", "euro")
_POUND = _currency("pound", None, "penny", "pence")
_YEN = _currency("yen", "yen", "sen", "sen")
_RUPEE = _currency("rupee", None, "paisa", "paise")
_FRANC = _currency("Swiss franc", None, "centime")
_YUAN = _currency("yuan", "yuan", "fen", "fen")
CURRENCIES = {
    "$": _DOLLAR,
    "€": _EURO,
    "£": _POUND,
    "¥": _YEN,
    "₹": _RUPEE,
    "₩": _currency("South Korean won", "South Korean won", "jeon", "jeon"),
    "₽": _currency("ruble", None, "kopeck"),
    "₺": _currency("lira", "lira", "kurus", "kurus"),
    "₪": _currency("shekel", None, "agora", "agorot"),
    "฿": _currency("baht", "baht", "satang", "satang"),
    "₫": _currency("dong", "dong", "hao", "hao"),
    "₱": _currency("peso", None, "centavo"),
    "₦": _currency("naira", "naira", "kobo", "kobo"),
    "US$": _US_DOLLAR,
    "USD": _US_DOLLAR,
    "EUR": _EURO,
    "GBP": _POUND,
    "JPY": _YEN,
    "CNY": _YUAN,
    "RMB": _YUAN,
    "INR": _RUPEE,
    "Rs.": _RUPEE,
    "Rs": _RUPEE,
    "CHF": _FRANC,
    "SFr.": _FRANC,
    "Fr.": _FRANC,
    "A$": _currency("Australian dollar"),
    "AU$": _currency("Australian dollar"),
    "AUD": _currency("Australian dollar"),
    "C$": _currency("Canadian dollar"),
    "CA$": _currency("Canadian dollar"),
    "CAD": _currency("Canadian dollar"),
    "NZ$": _currency("New Zealand dollar"),
    "NZD": _currency("New Zealand dollar"),
    "HK$": _currency("Hong Kong dollar"),
    "HKD": _currency("Hong Kong dollar"),
    "S$": _currency("Singapore dollar"),
    "SGD": _currency("Singapore dollar"),
    "MX$": _currency("Mexican peso", None, "centavo"),
    "MXN": _currency("Mexican peso", None, "centavo"),
    "R$": _currency("Brazilian real", "Brazilian reais", "centavo"),
    "BRL": _currency("Brazilian real", "Brazilian reais", "centavo"),
    "SEK": _currency("Swedish krona", "Swedish kronor", "ore", "ore"),
    "NOK": _currency("Norwegian krone", "Norwegian kroner", "ore", "ore"),
    "DKK": _currency("Danish krone", "Danish kroner", "ore", "ore"),
    "PLN": _currency("Polish zloty", "Polish zloty", "grosz", "groszy"),
    "CZK": _currency("Czech koruna", "Czech koruna", "haler", "haler"),
    "HUF": _currency("Hungarian forint", "Hungarian forints", "filler"),
    "ZAR": _currency("South African rand", "South African rand"),
    "KRW": _currency("South Korean won", "South Korean won", "jeon", "jeon"),
    "RUB": _currency("ruble", None, "kopeck"),
    "TRY": _currency("Turkish lira", "Turkish lira", "kurus", "kurus"),
    "ILS": _currency("shekel", None, "agora", "agorot"),
    "AED": _currency("dirham", None, "fil", "fils"),
    "THB": _currency("baht", "baht", "satang", "satang"),
}
CURRENCY = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
