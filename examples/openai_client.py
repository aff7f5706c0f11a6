"""Type a question, print the words of the reply, keep its sound: the official client, unchanged.

pip install 'openai[realtime]'; make run; python examples/openai_client.py "What is two plus two?"
"""

import base64
import sys
import wave

try:
    from openai import OpenAI, OpenAIError
except ModuleNotFoundError:
    sys.exit("this needs the official client; install it: pip install 'openai[realtime]'")

URL = "http://127.0.0.1:8080/v1"


def ask(question: str) -> bytes:
    """The reply's sound, 16-bit mono at 24 kHz; its words are printed as they come."""
    client = OpenAI(base_url=URL, api_key="not needed")
    content = [{"type": "input_text", "text": question}]
    sound = b""
    with client.realtime.connect(model="onebreath") as call:
        call.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        call.response.create()
        for event in call:
            if event.type == "response.output_audio_transcript.delta":
                print(event.delta, end="", flush=True)
            elif event.type == "response.output_audio.delta":
                sound += base64.b64decode(event.delta)
            elif event.type in ("response.done", "error"):
                break
    return sound


if __name__ == "__main__":
    try:
        reply = ask(" ".join(sys.argv[1:]) or "What is the capital of France?")
    except (OpenAIError, OSError) as error:
        print(f"{URL} does not answer ({error}); start it with: make run", file=sys.stderr)
        sys.exit(2)
    with wave.open("reply.wav", "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(reply)
    print(f"\nreply.wav: {len(reply) / 48_000:.1f} s")
