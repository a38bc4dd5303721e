import { type Figures, Meter, notBefore, Samples } from "./figures";
import { Hands } from "./hands";
import type { Key, Screen, ScreenEvents } from "./screen";
import { type Message, parse } from "./message";
import type { Session } from "./session";
import { Sure } from "./sure";

const CODECS = ["h264", "vp8"];
const PING_MS = 1000;
// Without an answer for so long nothing passes on the path: another is looked for, while this one may come back.
const SILENCE_MS = 2500;
// And after so long it is given up.
const PATIENCE_MS = 15_000;
// What was typed on another rung has arrived by then.
const TAKE_OVER_MS = 100;
const FRAMES_KEPT = 120;
const MOST_CURSOR = 256;
// A frame so long after an input was not drawn because of it: a key that changes nothing has no latency.
const MOST_GUEST_MS = 250;

const GESTURES = ["pointerdown", "keydown"] as const;

export type Transport = "any" | "udp" | "tcp";

/** A pointer's shape: its picture, and which of its pixels points. */
interface Shape {
  src: string;
  x: number;
  y: number;
}

interface Frame {
  rtp: number;
  at: number;
}

/** A desktop's screen by WebRTC: the video, its pointer drawn here, input over data channels. */
export class RtcScreen implements Screen {
  readonly rung = "webrtc";
  private readonly video = document.createElement("video");
  private readonly sound = document.createElement("audio");
  private readonly peers = new Map<string, RTCPeerConnection>();
  private readonly channels = new Map<string, RTCDataChannel>();
  private readonly cursors = new Map<number, Shape>();
  /** What the browser does not draw while the pointer is locked. */
  private readonly arrow = document.createElement("img");
  private readonly hands: Hands;
  private readonly sure: Sure;
  private readonly samples = new Samples();
  private readonly sent = new Map<number, number>();
  private readonly frames: Frame[] = [];
  private echoes: { rtp: number; since: number }[] = [];
  private size = { width: 1280, height: 720 };
  private stats: Message | null = null;
  private voice: MediaStreamTrack | null = null;
  private granted = false;
  private allowed = false;
  private pictured = false;
  /** The desktop has said whether our input counts: so it takes some. */
  private answered = false;
  private shown = false;
  private ended = false;
  private stalled = false;
  private beating = 0;
  private pings = 0;
  private pongAt = 0;
  private pingAt = new Map<number, number>();
  private roundTrip: number | null = null;
  private readonly meter = new Meter();

  constructor(
    private readonly session: Session,
    holder: HTMLElement,
    private readonly events: ScreenEvents,
    private readonly transport: Transport,
    audio: boolean,
  ) {
    Object.assign(this.video, { className: "remote", muted: true, autoplay: true, playsInline: true, tabIndex: 0 });
    this.video.hidden = true;
    this.sound.className = "remote";
    Object.assign(this.arrow, { className: "arrow", alt: "", hidden: true });
    holder.append(this.video, this.sound, this.arrow);
    this.sure = new Sure(
      (message) => this.tell("input", message),
      (messages) => session.say("input", { messages }),
    );
    this.hands = new Hands(this.video, {
      reliable: (message) => this.sure.send(message),
      lossy: (message) => void this.tell("pointer", message),
      size: () => this.size,
      paste: (data) => this.events.onPaste(data),
    });
    this.hands.onPlace = (place) => this.pointed(place);
    this.hands.onInput = (id) => this.sent.set(id, performance.now());
    session.onMedia = (message) => void this.hear(message);
    session.say("hello", { version: 1, codecs: CODECS, transport, audio });
    this.video.requestVideoFrameCallback((now, frame) => this.framed(now, frame));
    document.addEventListener("visibilitychange", this.onVisible);
    for (const kind of GESTURES) document.addEventListener(kind, this.unlock, true);
  }

  set drives(on: boolean) {
    this.granted = on;
    this.allow();
  }

  /** Both must say so: the server, who drives, and the guest, that it has heard of that. */
  private allow(): void {
    const on = this.granted && this.allowed;
    this.hands.enabled = on;
    this.video.dataset["drives"] = String(on);
    if (!on) this.hands.release();
  }

  set fitted(on: boolean) {
    this.video.classList.toggle("actual", !on);
  }

  get muted(): boolean {
    return this.sound.muted;
  }

  set muted(on: boolean) {
    this.sound.muted = on;
    if (!on) this.unlock();
  }

  /** The way for a voice is there from the beginning: nothing has to be negotiated. */
  speak(voice: MediaStreamTrack | null): boolean {
    this.voice = voice;
    for (const one of this.audio()) void one.sender.replaceTrack(voice).catch(notAllowed);
    return true;
  }

  stream(): MediaStream | null {
    const tracks = [...(this.peers.get("video")?.getReceivers() ?? [])].map((one) => one.track);
    return this.pictured ? new MediaStream(tracks) : null;
  }

  private audio(): RTCRtpTransceiver[] {
    const all = this.peers.get("video")?.getTransceivers() ?? [];
    return all.filter((one) => one.receiver.track.kind === "audio");
  }

  /** Browsers let a page be heard only once something was pressed in it. */
  private readonly unlock = (): void => {
    if (this.sound.paused && this.sound.srcObject) void this.sound.play().catch(notAllowed);
  };

  focus(): void {
    this.hands.focus();
  }

  lock(): Promise<void> {
    return this.hands.lock();
  }

  press(chord: readonly Key[]): void {
    for (const key of chord) this.hold(key, true);
    for (const key of [...chord].reverse()) this.hold(key, false);
  }

  type(text: string): void {
    this.hands.text(text);
  }

  hold(key: Key, down: boolean): void {
    this.hands.key(key.keysym, key.code ?? `U${key.keysym}`, down);
  }

  picture(): Promise<Blob | null> {
    const frame = this.frame();
    return new Promise((resolve) => (frame ? frame.toBlob(resolve, "image/png") : resolve(null)));
  }

  frame(): HTMLCanvasElement | null {
    if (!this.pictured) return null;
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [this.video.videoWidth, this.video.videoHeight];
    copy.getContext("2d")?.drawImage(this.video, 0, 0);
    return copy;
  }

  /** Have the path found anew: by UDP if that is to be had again. */
  restart(transport: Transport): void {
    this.session.say("restart", { transport });
  }

  async figures(): Promise<Figures> {
    const told = this.stats;
    const peer = this.peers.get("video");
    return {
      ...this.meter.read(peer ? await peer.getStats() : new Map()),
      p50: this.samples.quantile(0.5),
      p95: this.samples.quantile(0.95),
      roundTrip: this.roundTrip,
      codec: typeof told?.["codec"] === "string" ? told["codec"] : "",
    };
  }

  settle(): Promise<void> {
    return this.sure.settle();
  }

  takeOver(): void {
    this.sure.hold(TAKE_OVER_MS);
  }

  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.session.onMedia = () => {};
    this.hands.end();
    this.sure.end();
    clearInterval(this.beating);
    document.removeEventListener("visibilitychange", this.onVisible);
    for (const kind of GESTURES) document.removeEventListener(kind, this.unlock, true);
    this.session.say("close");
    for (const peer of this.peers.values()) peer.close();
    this.video.remove();
    this.sound.remove();
    this.arrow.remove();
  }

  private end(): void {
    if (this.ended) return;
    const last = this.frame();
    this.close();
    this.events.onEnd(last);
  }

  private readonly onVisible = (): void => void this.tell("desk", { type: "visible", on: !document.hidden });

  private async hear(message: Message): Promise<void> {
    if (message.type === "unavailable" || message.type === "ended") return this.end();
    if (message.type === "took") return this.sure.took(Number(message["s"]), false);
    if (message.type !== "offer" || typeof message["sdp"] !== "string") return;
    const name = message["peer"] === "audio" ? "audio" : "video";
    const peer = message["fresh"] === true ? this.begin(name) : this.peers.get(name);
    if (!peer) return;
    try {
      await peer.setRemoteDescription({ type: "offer", sdp: message["sdp"] });
      for (const one of this.audio()) one.direction = "sendrecv";
      this.speak(this.voice);
      const answer = await peer.createAnswer();
      await peer.setLocalDescription({ type: "answer", sdp: inStereo(answer.sdp ?? "") });
      this.session.say("answer", { peer: name, sdp: peer.localDescription?.sdp });
    } catch (error) {
      // What the desktop offers is nothing this browser can take, or the peer was closed meanwhile.
      if (!(error instanceof DOMException)) throw error;
      this.end();
    }
  }

  private begin(name: "audio" | "video"): RTCPeerConnection {
    this.peers.get(name)?.close();
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.peers.set(name, peer);
    peer.addEventListener("track", (event) => this.receive(event));
    peer.addEventListener("datachannel", ({ channel }) => this.open(channel));
    peer.addEventListener("connectionstatechange", () => {
      if (name !== "video") return;
      if (peer.connectionState === "failed") this.end();
      else if (peer.connectionState === "connected") this.heard();
    });
    return peer;
  }

  private receive(event: RTCTrackEvent): void {
    // A frame that is late is worth nothing: no buffer. (Chrome; the older name is Chrome's too.)
    const receiver = event.receiver as RTCRtpReceiver & { jitterBufferTarget?: number | null; playoutDelayHint?: number };
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    if ("playoutDelayHint" in receiver) receiver.playoutDelayHint = 0;
    const element = event.track.kind === "audio" ? this.sound : this.video;
    // Each alone: what is in one stream is shown in step, and the picture would wait for the sound.
    element.srcObject = new MediaStream([event.track]);
    void element.play().catch(notAllowed);
  }

  private open(channel: RTCDataChannel): void {
    this.channels.set(channel.label, channel);
    channel.addEventListener("message", ({ data }) => this.heardOver(channel.label, data));
    if (channel.label !== "desk") return;
    this.pongAt = performance.now();
    this.beating = window.setInterval(() => this.beat(), PING_MS);
    if (document.hidden) this.onVisible();
  }

  private beat(): void {
    const silence = performance.now() - this.pongAt;
    if (silence > PATIENCE_MS && !document.hidden) return this.end();
    if (silence > SILENCE_MS && !document.hidden) this.stall();
    this.pingAt.set(++this.pings, performance.now());
    this.tell("desk", { type: "ping", id: this.pings });
  }

  /** ICE looks for another path, by UDP or TCP, for the same stream: nothing of it is lost. */
  private stall(): void {
    if (this.stalled || !this.shown) return;
    this.stalled = true;
    this.sure.stall();
    this.restart(this.transport);
    this.events.onStall();
  }

  private heard(): void {
    this.pongAt = performance.now();
    if (!this.stalled) return;
    this.stalled = false;
    this.tell("desk", { type: "keyframe" });
    this.events.onPicture();
  }

  /** False if that channel is not open. */
  private tell(label: string, message: object): boolean {
    const channel = this.channels.get(label);
    if (channel?.readyState !== "open") return false;
    channel.send(JSON.stringify(message));
    return true;
  }

  /** What comes from the guest is looked at field by field: nobody else has. */
  private heardOver(label: string, data: unknown): void {
    this.heard();
    const message = parse(data);
    if (!message || label !== "desk") return;
    if (message.type === "pong") this.pong(Number(message["id"]), Number(message["took"]));
    else if (message.type === "screen") this.resized(Number(message["width"]), Number(message["height"]));
    else if (message.type === "cursor") this.point(message);
    else if (message.type === "stats") this.stats = message;
    else if (message.type === "control") this.allowedNow(message["on"] === true);
    else if (message.type === "echo") this.echoed(message);
  }

  private allowedNow(on: boolean): void {
    this.allowed = on;
    this.allow();
    this.answered = true;
    this.begun();
  }

  /** Live is what shows a picture and takes input: what is typed before would be lost. */
  private begun(): void {
    if (this.shown || !this.pictured || !this.answered) return;
    this.shown = true;
    this.video.hidden = false;
    this.events.onPicture();
  }

  private pong(id: number, took: number): void {
    this.sure.took(took, true);
    const at = this.pingAt.get(id);
    if (at !== undefined) this.roundTrip = performance.now() - at;
    this.pingAt = new Map([...this.pingAt].filter(([key]) => key > id));
  }

  private resized(width: number, height: number): void {
    if (width >= 1 && height >= 1 && width <= 16384 && height <= 16384) this.size = { width, height };
  }

  private point(message: Message): void {
    const serial = Number(message["serial"]);
    const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(message[name])) as [number, number, number, number];
    const png = message["png"];
    if (typeof png === "string" && /^[A-Za-z0-9+/=]{1,400000}$/.test(png)) {
      const whole = [x, y, width, height].every((value) => Number.isInteger(value) && value >= 0 && value <= MOST_CURSOR);
      if (whole && this.cursors.size < 500) this.cursors.set(serial, { src: `data:image/png;base64,${png}`, x, y });
    }
    const shape = this.cursors.get(serial);
    this.video.style.cursor = serial === 0 ? "none" : shape ? `url(${shape.src}) ${shape.x} ${shape.y}, default` : "default";
    if (shape) this.arrow.src = shape.src;
    this.arrow.style.translate = shape ? `${-shape.x}px ${-shape.y}px` : "";
    this.arrow.style.visibility = serial === 0 ? "hidden" : "";
  }

  /** Where the desktop's pointer is while this one is locked; null: it is not. */
  private pointed(place: { x: number; y: number } | null): void {
    this.arrow.hidden = !place;
    if (place) this.arrow.style.transform = `translate(${place.x}px, ${place.y}px)`;
  }

  private echoed(message: Message): void {
    const [id, rtp, guestMs] = ["id", "rtp", "guest_ms"].map((name) => Number(message[name])) as [number, number, number];
    const since = this.sent.get(id);
    this.sent.delete(id);
    if (since === undefined || !Number.isFinite(rtp) || !(guestMs < MOST_GUEST_MS)) return;
    const shown = this.frames.find((frame) => notBefore(frame.rtp, rtp));
    if (shown) this.samples.add(shown.at - since);
    else this.echoes = [...this.echoes.slice(-FRAMES_KEPT), { rtp, since }];
  }

  private framed(now: number, frame: VideoFrameCallbackMetadata): void {
    if (this.ended) return;
    this.video.requestVideoFrameCallback((next, one) => this.framed(next, one));
    if (this.stalled) this.heard();
    this.pictured = true;
    this.begun();
    const { rtpTimestamp } = frame;
    if (rtpTimestamp === undefined) return;
    this.frames.push({ rtp: rtpTimestamp, at: now });
    if (this.frames.length > FRAMES_KEPT) this.frames.shift();
    const due = this.echoes.filter((echo) => notBefore(rtpTimestamp, echo.rtp));
    for (const echo of due) this.samples.add(now - echo.since);
    if (due.length) this.echoes = this.echoes.filter((echo) => !due.includes(echo));
  }
}

/** The browser decodes in stereo only what it says it takes so (RFC 7587, 7). */
const inStereo = (sdp: string): string => {
  const opus = /a=rtpmap:(\d+) opus\/48000\/2/i.exec(sdp)?.[1];
  return opus ? sdp.replace(new RegExp(`(a=fmtp:${opus} [^\r\n]*)`), "$1;stereo=1") : sdp;
};

/** A browser plays sound only once something was pressed: then it is tried again. */
function notAllowed(error: unknown): void {
  if (!(error instanceof DOMException)) throw error;
}
