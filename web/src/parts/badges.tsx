import type { Desktop } from "../api/types";
import { text } from "../text";
import { Icon } from "./icons";

/** A container is not put aside but frozen, which is less: its mark says so. */
export function StateMark({ desktop: { state, isolation } }: { desktop: Desktop }) {
  const word = state === "paused" && isolation === "container" ? "frozen" : state;
  return (
    <span class={`state ${state}`}>
      <span class="state-dot" aria-hidden="true" />
      {text.state[word]}
    </span>
  );
}

/** Where the desktop's traffic leaves: the address the world sees once it is known, else by what. */
export function ExitBadge({ proxy, exit }: { proxy: Desktop["proxy"]; exit?: Desktop["exit"] }) {
  if (proxy === null) return null;
  if (proxy === "none") {
    return (
      <span class="badge" title={text.exit.noneHelp}>
        <Icon name="noGlobe" />
        {text.exit.none}
      </span>
    );
  }
  const how = proxy === "direct" ? text.exit.directHelp : text.exit.proxyHelp(proxy);
  const name = proxy === "direct" ? text.exit.direct : proxy;
  const help = [how, exit?.ip && text.exit.seen(exit.ip, countryName(exit.country))].filter(Boolean).join(" ");
  const kind = exit?.was ? "badge warned" : proxy === "direct" ? "badge" : "badge proxied";
  return (
    <span class={kind} title={exit?.was ? `${text.exit.changed(exit.was, exit.ip)} ${help}` : help}>
      {exit?.country ? <span aria-hidden="true">{flagOrCode(exit.country)}</span> : <Icon name="globe" />}
      {exit?.ip ? <span class="badge-address">{exit.ip}</span> : name}
      {exit?.was && <span class="badge-note">{text.exit.changedShort}</span>}
    </span>
  );
}

/** "DE" as the two regional indicators that are drawn as its flag. */
function flag(country: string): string {
  return [...country].map((letter) => String.fromCodePoint(0x1f1a5 + letter.charCodeAt(0))).join("");
}

/** Where no font of this browser has flags, two of those letters stand side by side: then plain ones do better. */
function flagOrCode(country: string): string {
  drawsFlags ??= ((context) => {
    if (!context) return false;
    const wide = (text: string): number => context.measureText(text).width;
    return wide(flag("DE")) < 1.5 * wide(flag("D"));
  })(document.createElement("canvas").getContext("2d"));
  return drawsFlags ? flag(country) : country;
}

let drawsFlags: boolean | undefined;

function countryName(country: string): string {
  return country && (new Intl.DisplayNames(["en"], { type: "region" }).of(country) ?? country);
}

export function IsolationBadge({ isolation }: { isolation: Desktop["isolation"] }) {
  if (!isolation) return null;
  return (
    <span class="badge" title={text.isolationHelp[isolation]}>
      <Icon name={isolation === "container" ? "box" : "shield"} />
      {text.isolation[isolation]}
    </span>
  );
}
