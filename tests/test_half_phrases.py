"""Halves of questions, commands and dictations at a pause, and the whole ones beside them."""

from __future__ import annotations

import pytest

from agent.turn_taking.completeness import TurnVerdict, completeness

INCOMPLETE = """
    Do you have any.
    Do you have any?
    Are there any?
    Is there any?
    Are there many?
    Who is the president of the United?
    Who is the king of the United?
    What is the capital of New?
    What is the capital of South?
    How far is it to San?
    What's the weather like in Los?
    What time is it in Hong?
    What is the capital of Saudi?
    Can I speak to Mister?
    Can I speak to Mr.?
    Could you put me through to Doctor?
    I have an appointment with Dr.
    I'd like to talk to Professor.
    I'm calling for Mrs.
    Tell him that we're not.
    Tell her I'm not.
    I am not.
    Please tell him that I can't.
    Tell my boss that I won't.
    I can't.
    I couldn't.
    She isn't.
    The printer doesn't.
    My card won't.
    We are not.
    What does it mean when the red light?
    What happens if the battery?
    What should I do if my dog?
    Do you know if the museum?
    Do you know whether the shop?
    Can you tell me if my flight?
    Could you tell me whether my order?
    Could you check whether my package?
    Can you tell me when the next bus?
    Do you know when the pharmacy?
    Do you know where the station?
    Tell him that my order.
    Tell her that the meeting.
    I called because my internet.
    I'm late because the train.
    Let me know when my car.
    Remind me when the laundry.
    I was wondering if the doctor.
    What is the difference between a cat?
    What is the difference between butter?
    What is the distance between London?
    What happened between 1914?
    What happened between nineteen fourteen?
    Choose a number between one.
    How far is it between Paris?
    Is the red one more?
    Is it more?
    Are trains less?
    What is the most?
    Where is the nearest?
    How do I get to the closest?
    I'd like a large.
    I want a red.
    Book me a direct.
    Can I have a small?
    Do you have a cheaper?
    The meeting is at half.
    Set an alarm for quarter.
    It's ten minutes past.
    Wake me at half past.
    What is a hundred divided?
    What is 12 multiplied?
    What is 25 times?
    What is twenty plus?
    The website is www.
    Go to www.
    Open http.
    My postcode is SW1.
    My postcode is SW1A.
    My post code is M1.
    The postcode is EC2.
    My address is 742.
    My address is 12.
    I live at 742.
    I live at twenty two.
    The address is sixteen hundred.
    double five
    triple zero
    Double seven.
    My password is capital B.
    My password is capital.
    The password is A.
    My password is lowercase q.
    My username is J.
    My number is 555-0142 extension.
    My number is 212-555-0142 extension.
    My booking reference is X7.
    My flight number is BA 2.
    My license plate is 7 A B.
    I was born on April 3rd.
    I was born on the 3rd of April.
    My date of birth is 04/12.
    My birthday is December.
    My verification code is 77.
    My code is 1 2.
    My number is 0172 555.
    I'd like to fly from.
    I'd like to go to the.
    What's the name of the?
    What's the phone number of?
    I want to know whether.
    It depends on whether.
    Could you send it to my?
    I'd like to book a table for.
    I need a taxi to the airport at.
    Change my appointment from Monday to.
    Milk, bread and.
    Either tea or.
    I want to fly to New York and then.
    Tell them we'll.
    How much is?
    Why is the?
    When I.
    I think that.
    It would be better if.
    What if?
    My name is.
"""
UNSURE = """
    What is the square root of 100?
    What is the square root of one hundred?
    What is the cube root of 27?
    What is 25 times 4?
    What is twenty five times four?
    What is 30 percent of 200?
    What is 1,000 divided by 8?
    How much is 250?
    Set a timer for 20.
    Set a timer for ten.
    Set a timer for twenty five.
    Set a timer for one hundred.
    Set an alarm for six.
    Set an alarm for 6.
    Wake me up at seven.
    Book a table for seven.
    Book a table for two.
    Could you book a table for seven?
    Remind me on the 3rd.
    Remind me on the third.
    Move it to the 14th.
    Send it to sixteen hundred.
    Call me at 7.
    Turn it up to 40.
    Change my appointment from Monday.
    Move my meeting from three.
    I'd like to change my flight from Tuesday.
    Show me trains from Berlin.
    How far is it from Boston?
    How do I get from the airport?
    I want to fly from New York.
    Convert ten miles.
    Translate good morning.
    My verification code is 7723.
    The code is one two three four.
    My code is 1 2 3 4 5.
    My number is 0172 555 014.
    My number is 0172 5550 14.
    My number is +49 172 55501.
    My number is 212-555-0142 extension 12.
    It's 555-0142 ext 7.
    What happens when the green lights?
    My booking reference is X7KQ29.
    I'd like to speak to a doctor.
    I'd like some.
    My name is John.
    I live in London.
    What's new?
    Is there anything more?
"""
COMPLETE = """
    My date of birth is 04/12/1984.
    My date of birth is 4.12.1984.
    I was born on April 3rd, 1984.
    I was born in April 1984.
    My date of birth is the 3rd of April 1984.
    I was born in 1984.
    My postcode is SW1A 1AA.
    My post code is M1 1AE.
    My verification code is 772301.
    My number is 07911 123456.
    My number is 212-555-0142.
    What is the capital of New Zealand?
    Who is the president of the United States?
    How is the doctor?
    Why not?
    No, I can't.
    No, it isn't.
    Of course not.
    I hope not.
    What is two plus two?
    What is seven times eight?
    Who was president in 1990?
    What happened in 2020?
    Who won the world cup in 1998?
    Set an alarm for 6:30.
    Set a timer for ten minutes.
    Set a timer for an hour and a half.
    Book a table for seven people.
    Please turn to page 12.
    What is the difference between a cat and a dog?
    What is the difference between these two?
    What happened between 1914 and 1918?
    Is the red one more expensive?
    Which one is the cheapest?
    Who is the best?
    What does it mean when the red light blinks?
    What should I do if my dog eats chocolate?
    Do you know if the museum is open today?
    Could you tell me whether my order has been shipped?
    Can you tell me when the next bus leaves?
    Tell him that we're not coming today.
    Change my appointment from Monday to Friday.
    How do I get from the airport to the station?
    Can I speak to Mr. Johnson, please?
    Where are you from?
    Do you know where it is?
    How do I know if it works?
    Tell me what it means.
    What do I do if it breaks?
    Can you explain why the sky is blue?
    Do you know who wrote it?
    Convert ten miles to kilometers.
    Translate good morning into French.
"""
LINES = [
    pytest.param(words, verdict, id=f"{verdict.name}: {words}")
    for verdict, table in (
        (TurnVerdict.INCOMPLETE, INCOMPLETE),
        (TurnVerdict.UNSURE, UNSURE),
        (TurnVerdict.COMPLETE, COMPLETE),
    )
    for words in map(str.strip, table.strip().splitlines())
]


@pytest.mark.parametrize(("words", "verdict"), LINES)
def test_the_verdict_on_halves_and_wholes(words: str, verdict: TurnVerdict) -> None:
    found = completeness(words, 1.5)
    assert found.verdict is verdict, found.rule


def test_the_table_is_large() -> None:
    assert len(LINES) >= 200


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("Set an alarm for half past six.", TurnVerdict.COMPLETE),
        ("Wake me up at a quarter to seven.", TurnVerdict.COMPLETE),
        ("Wake me at ten minutes past three.", TurnVerdict.COMPLETE),
        ("Set a timer for 20.", TurnVerdict.UNSURE),
        ("Set the heating to twenty", TurnVerdict.UNSURE),
        ("Wake me up at half past", TurnVerdict.INCOMPLETE),
        ("You can reach me at anna.smith.", TurnVerdict.INCOMPLETE),
        ("Write to me at anna.smith@example.com", TurnVerdict.COMPLETE),
        ("You can find it at example.com.", TurnVerdict.COMPLETE),
        ("So I've been thinking", TurnVerdict.INCOMPLETE),
        ("What were you thinking?", TurnVerdict.COMPLETE),
    ],
)
def test_times_names_in_addresses_and_openings_of_a_thought(words, verdict):
    assert completeness(words).verdict is verdict
