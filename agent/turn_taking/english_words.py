"""English word lists for the rules about the end of a sentence, in lower case.

The lists were written for spoken requests; a word is listed by its possible places in a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


HESITATIONS = _words("um uh uhm umm er erm eh hm hmm mm uhh ummm ehm hmmm mmm")
STALLING = _phrases(
    """
    you know, i mean, let me see, let me think, let me check, let's see, how do i say, how do you
    say, what's it called, what is it called, hold on, hang on, one moment, one second, just a
    moment, just a second, wait a minute, where was i, i've been thinking, i have been thinking,
    here's the thing
"""
)
"""Phrases with which a speaker keeps the turn."""

ANNOUNCEMENTS = frozenset(
    _phrases(
        """
        one thing, one more thing, one last thing, another thing, two things, three things,
        a few things, a couple of things, quick question, a quick question, one question,
        one more question, one last question, another question, next question, last question,
        two questions, by the way, first of all, on the other hand, on one hand, for example,
        for instance, in other words, speaking of which, long story short, can you can you,
        could you could you, could you also, can you also, would you also, and also, but also,
        not only
"""
    )
)
"""Whole sentences that only say that something follows."""
LEADS = frozenset(_words("okay ok so well um uh and oh right also just yes yeah hey hi hello"))
"""Words before an announcement."""

SHORT_ANSWERS = frozenset(
    _phrases(
        """
        yes, yeah, yep, yup, no, nope, nah, ok, okay, sure, right, alright, all right, fine, great,
        perfect, exactly, correct, absolutely, definitely, certainly, of course, maybe, probably,
        never, always, both, neither, thanks, thank you, thank you very much, thanks a lot, you're
        welcome, yes please, yes sir, yes i do, yes it is, yes i am, yes that's right, yes that's
        correct, that's right, that's correct, that's it, that's all, that is all, that's fine,
        that's great, that works, sounds good, sounds great, got it, i see, no thanks, no thank you,
        no that's all, no that's it, no that's fine, no i don't, not really, not at all, not yet, i
        don't know, i'm not sure, i don't think so, i think so, hello, hi, hey, hi there, hello
        there, good morning, good afternoon, good evening, bye, goodbye, bye bye, see you, see you
        later, have a nice day, nothing, nothing else, no problem, sorry, pardon, what, why, how,
        who, when, where, really, me too,
        why not, of course not, i hope not, i guess not, i think not, probably not, maybe not,
        definitely not, absolutely not, certainly not, no i can't, no it isn't, no i'm not,
        no i won't, no we don't, no i didn't, no i haven't, no it's not, no it doesn't
    """
    )
)
"""Whole utterances that answer, greet or thank."""

SHORT_COMMANDS = frozenset(
    _phrases(
        """
        stop, stop it, stop that, cancel, cancel that, cancel it, undo, undo that, repeat, repeat
        that, say that again, again, once more, go on, go ahead, continue, next, back, go back,
        skip, skip it, pause, resume, help, help me, louder, slower, faster, quieter, speak up, slow
        down, start over, start again, never mind, forget it, be quiet, shut up, hang up, play,
        mute, unmute, save it, delete it, do it, do that, try again, stop please
    """
    )
)

NEVER_LAST = _words(
    """
    a an the and or but nor because cause if unless although until till while whereas whether than
    my your our their its every very quite rather i'm i'd i'll i've you'd you'll you've we're we'd
    we'll we've they're they'd they'll they've he'd he'll she'd she'll it's it'll there's that'll
    who's what's where's how's into onto of between without per via plus minus times each another
    gonna wanna gotta let's
"""
)
"""No sentence ends in one of these."""
NEVER_LAST_PHRASES = _phrases(
    """
    and then,such as, as well as, and so, or maybe, because of, so that, in order to, more than,
    less than, at least, kind of a, a lot of, one of, some of, which is, who is, that is, and say
    that, said that, so that, means that, is that, told me that, sure that,
    think that, thought that, hope that, says that
"""
)

ENDING_SO = _words(
    "think hope guess say said told do did not if believe suppose so or why even ever just done"
)
"""Words before a "so" that may end a sentence: "I think so", "why so?"."""

PREPOSITIONS = _words(
    """
    for from with about at by to in on under over after before during against towards toward through
    across near behind beside off up down out around along since like as
"""
)
PARTICLES = _words("in on off up down out over around along through by back")
PHRASAL_VERBS = _words(
    """
    turn turned switch switched log logged sign signed come came check checked put hold go going
    went carry keep get got drop fill filled hand try call calling pick picked shut move moved find
    ran run cut break broke give gave take took set sort sorted work worked wake woke look
"""
)
"""Verbs that take a particle: "turn the light on" is complete."""
STRANDING = _words(
    """
    it you that this he she they we i them him her go come ask listen talk speak look wait work live
    asked talked looked waited belong pay think care made called used sit eat play search apply
    begin start stand want worth
"""
)
"""Words before a preposition that may end a sentence: "what is it for", "who did you talk to"."""

SUBJECTS = _words("i we they he she")
BE_FORMS = _words("is are was were am do did does have")

AUXILIARIES = _words(
    """
    is are was were am be been being will would can could should shall may might must has had does
    did isn't aren't wasn't weren't having
"""
)
SAYING = _words("say said think thought believe guess suppose reckon mean meant claim claimed")
"""Verbs of a question whose gap lies in the clause after them: "what did you say the price was"."""
ANSWERING = _words("yes yeah yep no nope of sure i it he she they we you that there")
"""First words of an answer that may end in an auxiliary: "yes it is", "I would"."""

TRANSITIVE = _words(
    """
    want need like have get book order buy make send find reserve schedule use take give tell ask
    show put add bring set reach update
"""
)
NOUNS_TOO = _words("book order need use show set update schedule reserve find")
"""Transitive verbs that are also nouns: "a book", "my order"."""
TRANSITIVE_PAST = _words(
    "wrote made took bought sold sent gave got had wanted needed ordered booked"
)
DITRANSITIVE = _words("tell give show send get bring make find")
"""Verbs that lack an object even with "me" after them: "give me"."""
BEFORE_VERB = _words("to i we can could would i'd please wanna gonna just you should will let me")

OPENERS = frozenset(
    _phrases(
        """
        i was thinking, so i was thinking, i was just thinking,
        i, i'd like, i'd like to, i would like, i want, i want to, i need, i need to, i am, i was, i
        have, can you, can i, can we, can i have, can i get, could you, could i, could you please,
        can you please, would you, would you please, will you, do you, do you have, are you, is
        there, are there, is it, please, so, well, and, but, actually, basically, my name is, my
        name's, my number is, my address is, my email is, it is, it's, that's, give me, tell me,
        show me, send me, get me, let me, i think, i guess, i mean, i was wondering, i was wondering
        if, i wonder if, i'm looking for, i'm calling about, i'm calling to, the, what is, what are,
        what about, how about, how do i, how do you, where is, when is, who is, hi i'd like, hello
        i'd like, hi i, hello i, yes i, no i, yes but, no but, yes and, okay so
    """
    )
)
"""Beginnings that are incomplete as a whole utterance."""

CONDITIONS = _words("if unless whenever although though")
TEMPORAL = _words("when while once after before since until")
"""Words that open a clause before a subject: "when I press the button"."""
PRONOUNS = _words("i you he she it we they i'm you're he's she's it's we're they're")
CONDITION_PHRASES = _phrases("as soon as, as long as, even if, even though, in case")
CONDITION_WORDS = 7
"""Words of a condition; a longer sentence without a comma contains its main clause."""

ASIDES = frozenset(
    _phrases(
        """
        yes, yeah, no, well, okay, ok, please, thanks, thank you, right, sure, hello, hi, hey,
        sorry, sir, actually, no thanks, oh, too, for example, of course, i think, you know
    """
    )
)
"""Words between commas that are not items of a list."""

POLITE = _words("please thanks")

WH_WORDS = _words(
    """
    what what's who who's whose whom where where's when when's why why's how how's which
"""
)
ASKING_VERBS = _words(
    """
    is are was were do does did can could would will should may have has isn't aren't don't doesn't
    didn't can't couldn't won't wouldn't
"""
)
MODALS = _words("do does did can could would will should shall may")
"""Words that need a verb in a question that begins with them, or has them after its wh-word."""
VERBS = _words(
    """
    accept agree allow answer apply arrive ask be become begin believe belong break bring build buy
    call cancel care carry change charge check choose clean close come compare connect cost count
    cover cut decide deliver do drink drive eat end enter explain expect expire fall feel fill find
    finish fit fix fly follow forget get give go happen have hear help hold hope include join keep
    know last learn leave let like listen live look lose love make matter mean meet mind miss move
    need offer open order own park pay pick plan play prefer put reach read recommend remember
    repeat replace require reschedule reserve return ride rise run say see sell send serve set ship
    show sign sing sit sleep sound speak spell spend stand start stay stop suggest swim take talk
    taste teach tell think translate travel try turn type understand use visit wait wake walk want
    warm wash watch weigh win wish wonder work write
"""
)
"""Common verbs, in the form that follows a modal."""
DETERMINERS = _words("the a an my your our his her their this that")
HALF_NOUN_PHRASES = _words("last next following only main whole new big little large other very")
"""Words that need a noun when they follow a determiner: "the last", "a new"."""
INDEFINITE = _words(
    "anything something nothing everything anyone someone anybody somebody any some"
)
"""Pronouns that an adjective may follow: "anything cheaper"."""
DANGLING = _words("that this these those first when where who what which how why all just only 2 4")
"""Words after which a command may go on; 2 and 4 are how "to" and "for" sound before a pause."""
THEN_AFTER = _words("until till since by back and okay ok well bye right before even")
"""Words before a "then" that may end a sentence."""

WHOLE_QUESTION = 5
"""Words that a complete question without a wh-word usually has."""

IMPERATIVES = _words(
    """
    tell show give set play turn switch call send open close read find book order remind cancel stop
    start add remove delete put take bring make move change repeat explain describe translate spell
    write search look check transfer connect wake help please let schedule increase decrease
    convert calculate define recommend suggest compare count dim lower raise navigate
"""
)
TIMES = _words("today tomorrow tonight now yesterday yet soon")
SMALL_WORDS = _words("you her them i'm im")
"""Further words that Whisper writes for "um" and "uh" before a pause."""
CLOSING = _words("it them him too again instead either anymore now anyway yourself myself well")

_GAP_WORDS = WH_WORDS - _words("when when's why why's")
_LEAD_INS = _words("so and but well okay ok oh then um uh hey hi hello please yes yeah no now also")


def lead(tokens: Sequence[str]) -> str:
    """The first word after openings such as "so" and "um, please"; empty without words."""
    for token in tokens:
        if token not in _LEAD_INS:
            return token
    return tokens[0] if tokens else ""


def modal_place(tokens: Sequence[str]) -> int | None:
    """Index of a question's modal: the first word, or up to three words after its wh-word.

    None for a sentence without one.
    """
    first = tokens.index(lead(tokens)) if tokens else 0
    reach = 4 if tokens and tokens[first] in WH_WORDS else 1
    places = range(first, min(first + reach, len(tokens)))
    return next((place for place in places if tokens[place] in MODALS), None)


def has_gap(tokens: Sequence[str]) -> bool:
    """Whether a wh-word opened a clause in which something may be missing: "what I asked for"."""
    return not _GAP_WORDS.isdisjoint(tokens)
