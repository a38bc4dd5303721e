/** What a clipboard holds. What comes from a desktop is never trusted: markup is never shown, only handed on. */
export interface Clip {
  text: string;
  html: string;
  image: Blob | null;
  /** What was longer than is handed on: "text", "html". */
  tooLarge: readonly string[];
}

export const NO_CLIP: Clip = { text: "", html: "", image: null, tooLarge: [] };

export const sameClip = (one: Clip, other: Clip): boolean =>
  one.text === other.text && one.html === other.html && one.image?.size === other.image?.size;

/** What is pasted here; null if that is nothing a desktop takes. */
export async function clipOf(data: DataTransfer): Promise<Clip | null> {
  const text = data.getData("text/plain");
  const html = data.getData("text/html");
  // A table's program gives its picture too: what has words is words.
  const file = text ? undefined : [...data.files].find((one) => one.type.startsWith("image/"));
  if (file) return { ...NO_CLIP, image: await asPng(file) };
  return text || html ? { ...NO_CLIP, text, html } : null;
}

/** This computer's clipboard. Rejects with a DOMException if the browser does not let this page read it. */
export async function readHere(): Promise<Clip | null> {
  const { clipboard } = navigator;
  if (!clipboard) throw new DOMException("", "NotAllowedError");
  if (!clipboard.read) return { ...NO_CLIP, text: await clipboard.readText() };
  const [item] = await clipboard.read();
  if (!item) return null;
  const read = async (kind: string): Promise<string> =>
    item.types.includes(kind) ? (await item.getType(kind)).text() : "";
  const [text, html] = await Promise.all([read("text/plain"), read("text/html")]);
  const picture = !text && item.types.find((kind) => kind.startsWith("image/"));
  if (picture) return { ...NO_CLIP, image: await asPng(await item.getType(picture)) };
  return text || html ? { ...NO_CLIP, text, html } : null;
}

/** Put it on this computer's clipboard. Rejects with a DOMException if the browser does not let this page. */
export async function writeHere(clip: Clip): Promise<void> {
  const { clipboard } = navigator;
  if (!clipboard) throw new DOMException("", "NotAllowedError");
  if (!clipboard.write || !("ClipboardItem" in window) || !(clip.html || clip.image)) return clipboard.writeText(clip.text);
  if (clip.image) return clipboard.write([new ClipboardItem({ "image/png": clip.image })]);
  const html = await harmless(clip.html);
  const parts: Record<string, Blob> = { "text/html": new Blob([html], { type: "text/html" }) };
  if (clip.text) parts["text/plain"] = new Blob([clip.text], { type: "text/plain" });
  return clipboard.write([new ClipboardItem(parts)]);
}

const LOADS = new Set(["src", "srcset", "background", "poster", "data"]);

/** A desktop's markup without scripts, and without anything that the page it is pasted into would load: it would
 * tell where somebody is. A part of its own, as it is seldom needed. */
export async function harmless(html: string): Promise<string> {
  const { default: purify } = await import("dompurify");
  purify.removeAllHooks();
  purify.addHook("uponSanitizeAttribute", (_, told) => {
    const loads = LOADS.has(told.attrName) && !told.attrValue.startsWith("data:image/");
    if (loads || (told.attrName === "style" && /url|image|@import/i.test(told.attrValue))) told.keepAttr = false;
  });
  return purify.sanitize(html, { USE_PROFILES: { html: true }, FORBID_TAGS: ["style", "form", "input", "button", "textarea", "select"] });
}

/** Desktops take one form of picture. */
async function asPng(picture: Blob): Promise<Blob> {
  if (picture.type === "image/png") return picture;
  const bitmap = await createImageBitmap(picture);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new DOMException("", "EncodingError"))), "image/png"),
  );
}
