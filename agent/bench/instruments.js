/**
 * Runs in the page before its own scripts: a microphone that says what a test wants, and a
 * recorder of both ends of the call in the page's own AudioContext.
 *
 * `instruments.say(url)` speaks a file into the microphone; `instruments.recording()` returns
 * {rate, mouth, ear} as base64 float32; the ear is everything that reaches the speakers. Recording
 * loads a worklet from a blob, so it needs a browser context that passes over the page's policy.
 */
(() => {
  /** Hands every block to the page with its place on the context's timeline. */
  const RECORDER = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([[channel]]) {
      if (channel) this.port.postMessage({ frame: currentFrame, sound: channel.slice() });
      return true;
    }
  })`;
  const own = new WeakSet();
  const mic = {};
  const chunks = { mouth: [], ear: [] };
  let page = null;

  async function microphone() {
    if (mic.context) return;
    mic.context = new RealContext({ sampleRate: 48_000 });
    await mic.context.resume();
    mic.out = mic.context.createMediaStreamDestination();
    const breath = mic.context.createConstantSource(); // keeps the track flowing
    breath.offset.value = 1e-6;
    breath.connect(mic.out);
    breath.start();
  }

  const RealContext = window.AudioContext;
  const connect = AudioNode.prototype.connect;

  window.AudioContext = class extends RealContext {
    constructor(...options) {
      super(...options);
      page = { context: this };
      if (!window.keepRecording) return;
      const module = URL.createObjectURL(new Blob([RECORDER], { type: "text/javascript" }));
      page.ready = this.audioWorklet.addModule(module);
    }

    createMediaStreamSource(stream) {
      const source = super.createMediaStreamSource(stream);
      if (own.has(stream)) record(source, "mouth");
      return source;
    }
  };

  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode && target.context === page?.context) record(this, "ear");
    return connect.call(this, target, ...rest);
  };

  async function record(node, end) {
    if (!page.ready) return;
    await page.ready;
    const recorder = new AudioWorkletNode(node.context, "recorder", { numberOfOutputs: 0 });
    recorder.port.onmessage = ({ data }) => chunks[end].push(data);
    connect.call(node, recorder);
  }

  if (!window.keepMicrophone) {
    navigator.mediaDevices.getUserMedia = async () => {
      await microphone();
      const stream = new MediaStream(mic.out.stream.getAudioTracks().map((track) => track.clone()));
      own.add(stream);
      return stream;
    };
  }

  window.instruments = {
    async say(url) {
      const response = await fetch(url);
      const source = mic.context.createBufferSource();
      source.buffer = await mic.context.decodeAudioData(await response.arrayBuffer());
      source.connect(mic.out);
      source.start();
      await new Promise((resolve) => (source.onended = resolve));
    },
    now: () => page.context.currentTime,
    recording() {
      const lay = (pieces) => {
        const length = Math.max(0, ...pieces.map(({ frame, sound }) => frame + sound.length));
        const whole = new Float32Array(length);
        for (const { frame, sound } of pieces) whole.set(sound, frame);
        const bytes = new Uint8Array(whole.buffer);
        let text = "";
        for (let n = 0; n < bytes.length; n += 8192) text += String.fromCharCode(...bytes.subarray(n, n + 8192));
        return btoa(text);
      };
      return { rate: page.context.sampleRate, mouth: lay(chunks.mouth), ear: lay(chunks.ear) };
    },
  };
})();
