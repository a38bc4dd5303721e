import type { Desktop, State } from "../api/types";
import { text } from "../text";
import { Icon } from "./icons";

export function StateMark({ state }: { state: State }) {
  return (
    <span class={`state ${state}`}>
      <span class="state-dot" aria-hidden="true" />
      {text.state[state]}
    </span>
  );
}

/** Where the desktop's traffic leaves. */
export function ExitBadge({ proxy }: { proxy: Desktop["proxy"] }) {
  if (proxy === null) return null;
  if (proxy === "none") {
    return (
      <span class="badge" title={text.exit.noneHelp}>
        <Icon name="noGlobe" />
        {text.exit.none}
      </span>
    );
  }
  const help = proxy === "direct" ? text.exit.directHelp : text.exit.proxyHelp(proxy);
  return (
    <span class={proxy === "direct" ? "badge" : "badge proxied"} title={help}>
      <Icon name="globe" />
      {proxy === "direct" ? text.exit.direct : proxy}
    </span>
  );
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
