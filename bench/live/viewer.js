// The measuring viewer. `open*` connect; `pixel` is the patch's brightness as last decoded; `measure` types and waits.
let pixel = -1;
let waiting = null;
let sendKey = () => {};
const FRAMES_KEPT = 40;
const state = { frames: 0, bytes: 0, first: 0, log: [] };
const began = performance.now();

function saw(value) {
  pixel = value;
  state.frames += 1;
  if (!state.first) state.first = performance.now() - began;
  if (waiting && Math.abs(value - waiting.from) > 100) { waiting.resolve(performance.now()); waiting = null; }
}

async function ticket(desktop, token, mode) {
  const answer = await fetch(`/v1/desktops/${desktop}/tickets`, {
    method: "POST", headers: { Authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ mode }) });
  return (await answer.json()).ticket;
}

// Decoded frames, straight from the decoder; `painted`: as the compositor gets them.
async function openWebrtc({ desktop, token, transport = "any", codecs = ["h264", "vp8"], painted = false }) {
  const socket = new WebSocket(`ws://${location.host}/v1/desktops/${desktop}/webrtc`, [`ticket.${await ticket(desktop, token, "control")}`]);
  let peer = null;
  const channels = state.channels = {};
  state.desk = [];
  await new Promise((opened, failed) => {
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: "take" }));
      socket.send(JSON.stringify({ type: "hello", version: 1, codecs, transport, audio: false }));
    };
    socket.onclose = (event) => failed(new Error(`closed ${event.code} ${event.reason}`));
    socket.onmessage = async (message) => {
      const told = JSON.parse(message.data);
      if (told.type === "unavailable" || told.type === "ended") failed(new Error(JSON.stringify(told)));
      if (told.type !== "offer" || told.peer !== "video") return;
      if (told.fresh) {
        peer = state.peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
        peer.ondatachannel = ({ channel }) => {
          channels[channel.label] = channel;
          if (channel.label === "desk") channel.onmessage = ({ data }) => {
            const told = JSON.parse(data);
            state.desk.push(told);
            if (told.type === "control" && told.on) opened();
          };
        };
        peer.ontrack = ({ track, receiver }) => {
          receiver.jitterBufferTarget = 0;
          (painted ? watchPainted : watchDecoded)(track);
        };
      }
      await peer.setRemoteDescription({ type: "offer", sdp: told.sdp });
      await peer.setLocalDescription();
      socket.send(JSON.stringify({ type: "answer", peer: "video", sdp: peer.localDescription.sdp }));
    };
  });
  state.socket = socket;
  let id = 0;
  sendKey = () => {
    channels.input.send(JSON.stringify({ type: "key", keysym: 0x61, down: true, id: ++id }));
    channels.input.send(JSON.stringify({ type: "key", keysym: 0x61, down: false }));
  };
}

async function watchDecoded(track) {
  const video = document.createElement("video");
  video.muted = true;
  video.srcObject = new MediaStream([track]);
  document.body.append(video);
  video.play();
  const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
  const place = new Uint8Array(64);
  for (;;) {
    const { value: frame, done } = await reader.read();
    if (done) return;
    await frame.copyTo(place, { rect: { x: 32, y: 32, width: 2, height: 2 } });
    state.size = [frame.codedWidth, frame.codedHeight];
    if (state.kept) {
      state.kept.push({ at: Date.now(), bitmap: await createImageBitmap(frame) });
      if (state.kept.length > FRAMES_KEPT) state.kept.shift().bitmap.close();
    }
    frame.close();
    saw(place[0]);
  }
}

function watchPainted(track) {
  const video = state.video = document.createElement("video");
  video.muted = true;
  video.srcObject = new MediaStream([track]);
  document.body.append(video);
  video.play();
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const each = () => {
    canvas.drawImage(video, 32, 32, 1, 1, 0, 0, 1, 1);
    saw(canvas.getImageData(0, 0, 1, 1).data[1]);
    video.requestVideoFrameCallback(each);
  };
  video.requestVideoFrameCallback(each);
}

// noVNC paints by itself: looked at when it has painted an update.
async function openNovnc({ url, desktop, token }) {
  const { default: RFB } = await import("/bench/novnc/core/rfb.js");
  const screen = document.createElement("div");
  screen.style.cssText = "width:1280px;height:720px";
  document.body.append(screen);
  const where = url || `ws://${location.host}/v1/desktops/${desktop}/vnc`;
  const protocols = url ? [] : ["binary", `ticket.${await ticket(desktop, token, "control")}`];
  const rfb = state.rfb = new RFB(screen, new WebSocket(where, protocols));
  await new Promise((opened, failed) => {
    rfb.addEventListener("connect", opened);
    rfb.addEventListener("disconnect", (event) => failed(new Error(`disconnected ${event.detail.clean}`)));
  });
  const display = rfb._display, flip = display.flip.bind(display);
  const canvas = screen.querySelector("canvas").getContext("2d");
  display.flip = (...args) => { flip(...args); saw(canvas.getImageData(32, 32, 1, 1).data[1]); };
  sendKey = () => { rfb.sendKey(0x61, null, true); rfb.sendKey(0x61, null, false); };
}

// How like the screen itself the decoded pictures were that came after `since` (ms): [ms after, SSIM] of each.
async function sharpness({ desktop, token, since, area }) {
  const kept = state.kept;
  state.kept = null;
  const answer = await fetch(`/v1/desktops/${desktop}/computer/screenshot`, { headers: { Authorization: `Bearer ${token}` } });
  const screen = luma(await createImageBitmap(await answer.blob()), area);
  return kept.filter(({ at }) => at >= since).map(({ at, bitmap }) => [at - since, ssim(luma(bitmap, area), screen)]);
}

function luma(bitmap, [left, top, width, height]) {
  const canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  canvas.drawImage(bitmap, -left, -top);
  const { data } = canvas.getImageData(0, 0, width, height), y = new Float32Array(width * height);
  for (let n = 0; n < y.length; n += 1) y[n] = 0.299 * data[4 * n] + 0.587 * data[4 * n + 1] + 0.114 * data[4 * n + 2];
  return { y, width, height };
}

// Structural similarity (Wang and others, 2004), the mean of windows of 8 by 8, every 4 pixels.
function ssim(a, b) {
  const [c1, c2, side] = [(0.01 * 255) ** 2, (0.03 * 255) ** 2, 8];
  let [sum, windows] = [0, 0];
  for (let top = 0; top + side <= a.height; top += 4) {
    for (let left = 0; left + side <= a.width; left += 4) {
      let [sa, sb, saa, sbb, sab] = [0, 0, 0, 0, 0];
      for (let row = 0; row < side; row += 1) {
        for (let n = (top + row) * a.width + left, end = n + side; n < end; n += 1) {
          const [va, vb] = [a.y[n], b.y[n]];
          sa += va; sb += vb; saa += va * va; sbb += vb * vb; sab += va * vb;
        }
      }
      const count = side * side, [ma, mb] = [sa / count, sb / count];
      const [va, vb, cov] = [saa / count - ma * ma, sbb / count - mb * mb, sab / count - ma * mb];
      sum += ((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
      windows += 1;
    }
  }
  return sum / windows;
}

const rest = (ms) => new Promise((done) => setTimeout(done, ms));

// Milliseconds from the key to the changed pixel; `null` where it did not come within 10 s.
async function measure(count) {
  const samples = [];
  for (let n = 0; n < count; n += 1) {
    await rest(80 + Math.random() * 120);
    const t0 = performance.now();
    const seen = new Promise((resolve) => { waiting = { from: pixel, resolve }; });
    sendKey();
    const t1 = await Promise.race([seen, rest(10000).then(() => null)]);
    waiting = null;
    samples.push(t1 === null ? null : t1 - t0);
  }
  return samples;
}
