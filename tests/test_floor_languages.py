"""Words about the floor in other languages, and words that only hold some of them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.turn_taking.floor import FloorRequest
from agent.turn_taking.floor_languages import floor_request_in

WISHES = {
    (
        "de",
        FloorRequest.STOP,
    ): "Stopp.|Halt!|Hör auf.|Hör bitte auf.|Sei still.|Seien Sie bitte ruhig."
    "|Ruhe bitte.|Das reicht jetzt, danke.|Schon gut.|Vergiss es.|Nein, nein, stopp.",
    ("de", FloorRequest.WAIT): "Warte.|Warte mal.|Warten Sie bitte.|Moment.|Moment mal."
    "|Einen Moment bitte.|Nur eine Sekunde.|Entschuldigung, einen Augenblick."
    "|Gib mir eine Minute.|Lass mich kurz nachdenken.|Ich bin noch nicht fertig.",
    ("de", FloorRequest.ATTENTION): "Hallo?|Hallo, bist du noch da?|Hören Sie mich?|Ist da jemand?",
    ("de", FloorRequest.NONE): "Stopp den Timer.|Wo hält der Bus?|Halt am Bahnhof.|Warte auf mich."
    "|Moment der Wahrheit|Hallo, wie spät ist es?|Ruhe in Frieden ist ein Lied.|Hör nicht auf."
    "|Wie lange muss ich warten?|Eine Minute hat sechzig Sekunden.|Ja.|Bitte.|Egal.|",
    ("es", FloorRequest.STOP): "Para.|¡Basta!|Cállate, por favor.|Silencio.|Ya basta.|Olvídalo."
    "|Deja de hablar.",
    ("es", FloorRequest.WAIT): "Espera.|Espera un momento.|Un momento, por favor.|Un segundo."
    "|Dame un minuto.|Déjame pensar.|Todavía no he terminado.",
    ("es", FloorRequest.ATTENTION): "¿Hola?|¿Estás ahí?|¿Me oyes?|Hola, ¿hay alguien ahí?",
    ("es", FloorRequest.NONE): "Para mañana.|Espera a mi hermano.|Hola, ¿qué hora es?|Sí.|No."
    "|Un momento histórico.|No pares.|¿Cuánto tengo que esperar?",
    ("fr", FloorRequest.STOP): "Arrête.|Arrêtez, s'il vous plaît.|Tais-toi.|Silence.|Ça suffit."
    "|Laisse tomber.",
    ("fr", FloorRequest.WAIT): "Attends.|Attendez une seconde.|Un moment, s'il vous plaît."
    "|Une seconde.|Donne-moi une minute.|Laissez-moi réfléchir.|Je n'ai pas fini.",
    ("fr", FloorRequest.ATTENTION): "Allô?|Tu es là?|Vous m'entendez?|Allô, il y a quelqu'un?",
    ("fr", FloorRequest.NONE): "Arrête la musique.|Attends le bus.|Un moment de silence.|Oui."
    "|N'arrête pas.|Combien de temps dois-je attendre?|Merci.",
}
LINES = [
    pytest.param(words, language, wish, id=f"{language} {wish.name}: {words}")
    for (language, wish), table in WISHES.items()
    for words in table.split("|")
]


@pytest.mark.parametrize(("words", "language", "wish"), LINES)
def test_the_wish_of_words(words: str, language: str, wish: FloorRequest) -> None:
    assert floor_request_in(words, language) is wish


def test_english_has_its_own_rules() -> None:
    assert floor_request_in("Hold on.", "en") is FloorRequest.WAIT
    assert floor_request_in("Moment mal.", "en") is FloorRequest.NONE


def test_languages_that_are_not_known_have_no_wishes() -> None:
    assert floor_request_in("Stop.", "ja") is FloorRequest.NONE


SALAD = ("warte", "un", "moment", "bitte", "no", "ja", "x", "une", "stop")


@given(st.lists(st.sampled_from(SALAD), max_size=40))
def test_word_salad_takes_bounded_time(words: list[str]) -> None:
    began = time.process_time()
    for language in ("de", "es", "fr"):
        floor_request_in(" ".join(words), language)
    assert time.process_time() - began < 0.1
