import { useId } from "preact/hooks";
import { duration } from "../amount";
import { useCell } from "../cell";
import { type Fact, Facts } from "../parts/facts";
import { Choice } from "../parts/field";
import { text } from "../text";
import type { Pin, Try } from "./ladder";
import type { Viewing } from "./viewing";

const PINS: readonly Pin[] = ["auto", "udp", "tcp", "vnc"];

/** Milliseconds as the bar shows them. */
const ms = (value: number | null | undefined): string =>
  value === null || value === undefined ? "–" : `${Math.round(value)} ms`;

/** The one number of the bar: input to pixel where it is known, else the round trip. */
export function latencyOf(viewing: Viewing): string {
  const figures = viewing.figures.value;
  return figures ? ms(figures.p50 ?? figures.roundTrip) : "";
}

/** How the connection is, measured; what was tried; and which way it has to go. */
export function ConnectionPanel({ viewing }: { viewing: Viewing }) {
  const figures = useCell(viewing.figures);
  const pin = useCell(viewing.pin);
  const tries = useCell(viewing.tries);
  const words = text.view.connectionFacts;
  const facts: Fact[] = [];
  if (figures) {
    const add = (name: string, value: string): number => facts.push({ name, value });
    add(words.rung, text.view.rungs[figures.rung]);
    add(words.latency, figures.p50 === null ? words.unknown : `${ms(figures.p50)}, p95 ${ms(figures.p95)}`);
    add(words.roundTrip, ms(figures.roundTrip));
    if (figures.fps !== null) add(words.fps, figures.fps.toFixed(0));
    if (figures.kbps !== null) add(words.rate, `${figures.kbps.toFixed(0)} kbit/s`);
    if (figures.loss !== null) add(words.loss, `${(figures.loss * 100).toFixed(1)} %`);
    if (figures.codec) add(words.codec, figures.codec);
  }
  return (
    <section aria-label={text.view.connection}>
      <strong>{text.view.connection}</strong>
      <Graph values={viewing.history.list} />
      <Facts facts={facts} />
      <Choice
        label={text.view.pin}
        value={pin}
        options={PINS.map((one) => [one, text.view.pins[one]] as const)}
        onValue={(value) => viewing.pinTo(value as Pin)}
      />
      <strong>{text.view.tried}</strong>
      <ol class="tries">
        {[...tries].reverse().map((one) => (
          <Tried key={`${one.at} ${one.rung}`} one={one} />
        ))}
      </ol>
      {tries.some((one) => one.result === "failed") && <p class="panel-help">{text.view.triedHelp}</p>}
      {location.protocol === "http:" && !isLoopback() && <p class="panel-help">{text.view.plainHttp}</p>}
    </section>
  );
}

function Tried({ one }: { one: Try }) {
  const result = one.result ?? "trying";
  return (
    <li class={result}>
      <span>{text.view.rungs[one.rung]}</span>
      <span>
        {text.view.tryResults[result]}
        {one.seconds !== null && ` · ${duration(one.seconds)}`}
      </span>
    </li>
  );
}

const WIDTH = 290;
const HEIGHT = 56;

/** The last two minutes. */
function Graph({ values }: { values: readonly number[] }) {
  const id = useId();
  if (values.length < 2) return null;
  const most = Math.max(50, ...values);
  const points = values.map((value, index) => {
    const x = (index / (values.length - 1)) * WIDTH;
    return `${x.toFixed(1)},${(HEIGHT - (value / most) * (HEIGHT - 4)).toFixed(1)}`;
  });
  return (
    <svg class="graph" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-labelledby={id}>
      <title id={id}>{text.view.graph(Math.round(most))}</title>
      <polyline points={points.join(" ")} />
    </svg>
  );
}

const isLoopback = (): boolean => /^(localhost|127\.|\[::1\])/.test(location.hostname);
