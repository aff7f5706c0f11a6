"""Words about the floor in German, Spanish and French: "Moment mal", "un momento", "tais-toi".

They are fewer than the English ones in `floor`: whole phrases, repeated or with courtesies around.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from agent.turn_taking.completeness import LANGUAGE
from agent.turn_taking.floor import MAX_CHARACTERS, FloorRequest, floor_request, plain_words


@dataclass(frozen=True, slots=True)
class _Phrases:
    """Patterns of one language, of words in small letters without punctuation."""

    stop: str
    wait: str
    attention: str
    around: str

    def wish(self, plain: str) -> FloorRequest:
        for core, wish in (
            (self.wait, FloorRequest.WAIT),
            (f"{self.stop}|{self.wait}", FloorRequest.STOP),
            (self.attention, FloorRequest.ATTENTION),
        ):
            whole = rf"(?:(?:{self.around}) )*(?:{core})(?: (?:{self.around}|{core}))*"
            if re.fullmatch(whole, plain):
                return wish
        return FloorRequest.NONE


_GERMAN: Final = _Phrases(
    stop=r"stopp?|halt|aufhören|(?:hör|hören sie) (?:jetzt )?(?:bitte )?(?:damit )?auf(?: damit)?"
    r"|(?:sei|seien sie) (?:bitte )?(?:still|ruhig|leise)|ruhe|still|schweig"
    r"|(?:das )?(?:reicht|genügt)(?: jetzt)?|genug|schon gut|lass (?:es )?gut sein"
    r"|vergiss (?:es|das)|vergessen sie (?:es|das)",
    wait=r"(?:warte|warten sie)(?: mal)?(?: bitte)?(?: kurz)?(?: einen moment| eine sekunde)?"
    r"|(?:nur |bitte )?(?:einen |kleinen |einen kleinen )?(?:moment|augenblick)(?: mal)?"
    r"|(?:nur )?(?:eine |ne )?(?:sekunde|minute)"
    r"|(?:gib|geben sie) mir (?:bitte )?(?:kurz )?(?:einen moment|eine sekunde|eine minute|zeit)"
    r"|(?:lass|lassen sie) mich (?:bitte )?(?:kurz |mal )?(?:nachdenken|überlegen|ausreden|sehen)"
    r"|ich (?:muss|will) (?:kurz |mal )?(?:nachdenken|überlegen)"
    r"|ich bin noch nicht (?:fertig|so weit)|(?:bin|ich bin) gleich (?:wieder da|zurück)",
    attention=r"hallo|(?:bist du|sind sie) (?:noch )?(?:da|dran)"
    r"|(?:ist da|ist) (?:noch )?jemand(?: da)?"
    r"|(?:hörst du|hören sie|kannst du|können sie) mich(?: noch)?(?: hören)?",
    around=r"bitte|okay|ok|ja|nein|nee|oh|äh|ähm|hm|so|also|nun|jetzt|danke|entschuldigung|sorry"
    r"|mal|doch|hey|he",
)
_SPANISH: Final = _Phrases(
    stop=r"para|pare|alto|basta|detente|deténgase|cállate|cállese|silencio|ya basta|es suficiente"
    r"|suficiente|(?:deja|deje) de hablar|olvídalo|olvídelo|déjalo|déjelo",
    wait=r"espera|espere"
    r"|(?:espera|espere)? ?(?:un|solo un|sólo un) (?:momento|momentito|segundo|minuto)"
    r"|(?:dame|deme|déme) (?:un|otro) (?:momento|segundo|minuto)|momento|un momentito"
    r"|(?:déjame|déjeme) (?:pensar|ver|terminar|hablar)|tengo que pensar(?:lo)?"
    r"|(?:aún|todavía) no he (?:terminado|acabado)|ahora vuelvo|aguarda|aguarde",
    attention=r"hola|(?:estás|está|sigues|sigue) (?:ahí|allí)(?: todavía)?|hay alguien(?: ahí)?"
    r"|(?:me (?:oyes|oye|escuchas|escucha)|puedes oírme|puede oírme)|aló|diga|oiga",
    around=r"por favor|vale|sí|no|ok|okay|oh|eh|ah|bueno|ya|ahora|gracias|perdón|perdona|perdone"
    r"|disculpa|disculpe|oye|pues",
)
_FRENCH: Final = _Phrases(
    stop=r"stop|arrête(?:z)?|halte|tais toi|taisez vous|silence|chut|ça suffit|assez|suffit"
    r"|(?:arrête|arrêtez) de parler|laisse(?:z)? tomber|oublie(?:z)?",
    wait=r"attends|attendez|(?:attends|attendez)? ?(?:juste )?(?:un|une) (?:petit |petite )?"
    r"(?:moment|instant|seconde|minute)|(?:donne|donnez)[ -]moi (?:un|une) "
    r"(?:moment|instant|seconde|minute)|(?:laisse|laissez)[ -]moi (?:réfléchir|voir|finir|parler)"
    r"|je (?:dois )?réfléchi[rs]|je n'ai pas (?:fini|terminé)|je reviens|ne quitte(?:z)? pas",
    attention=r"allô|allo|(?:tu es|vous êtes|es tu|êtes vous) (?:encore |toujours )?là"
    r"|il y a quelqu'un|y a quelqu'un"
    r"|(?:tu m'entends|vous m'entendez|m'entends tu|m'entendez vous)",
    around=r"s'il (?:te|vous) plaît|ok|okay|oui|non|oh|euh|ah|bon|bien|alors|maintenant|merci"
    r"|pardon|désolée?|excuse(?:z)? moi|hé|donc|mais",
)
_LANGUAGES: Final = {"de": _GERMAN, "es": _SPANISH, "fr": _FRENCH}


def floor_request_in(words: str, language: str) -> FloorRequest:
    """The wish about the floor that all of the words express; see `floor.floor_request`.

    Args:
        words: transcript of a turn.
        language: of the words, by its ISO 639-1 code; NONE in languages that are not known here.
    """
    if language == LANGUAGE:
        return floor_request(words)
    phrases = _LANGUAGES.get(language)
    if phrases is None or len(words) > MAX_CHARACTERS:
        return FloorRequest.NONE
    return phrases.wish(re.sub(r"[¡¿]", "", plain_words(words)).strip())
