/** Candidates that follow an offer. */

import assert from "node:assert/strict";
import test from "node:test";
import { fragmentOf } from "../../web_client/static/src/transports/trickle.js";

const OFFER = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret+/=\r\na=mid:0\r\n";
const found = (candidate, sdpMid = "0") => ({ candidate, sdpMid });

test("a fragment has the credentials of the offer, and candidates by section", () => {
  const lines = fragmentOf(OFFER, [found("candidate:1"), found("candidate:2", "1"), found("candidate:3")], false);
  assert.deepEqual(lines.split("\r\n"), [
    "a=ice-ufrag:abcd",
    "a=ice-pwd:secret+/=",
    "m=audio 9 UDP/TLS/RTP/SAVPF 0",
    "a=mid:0",
    "a=candidate:1",
    "a=candidate:3",
    "m=audio 9 UDP/TLS/RTP/SAVPF 0",
    "a=mid:1",
    "a=candidate:2",
    "",
  ]);
});

test("the end of candidates is told with none, too", () => {
  assert.match(fragmentOf(OFFER, [], true), /^a=ice-ufrag:abcd\r\na=ice-pwd:.*\r\na=end-of-candidates\r\n$/);
});
