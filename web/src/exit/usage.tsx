import { useId } from "preact/hooks";
import { size } from "../amount";
import type { Egress, Latency } from "../api/types";
import { Button } from "../parts/button";
import { type Fact, Facts } from "../parts/facts";
import { text } from "../text";

interface UsageProps {
  told: Egress;
  busy: boolean;
  /** null: it is not this person's to count anew. */
  onReset: (() => void) | null;
}

/** What went through since the desktop was made: bytes, connections, what was refused and why, how quick. */
export function Usage({ told, busy, onReset }: UsageProps) {
  const words = text.exit.usage;
  const reasons = Object.entries(told.denied_by_reason).sort(([, left], [, right]) => right - left);
  const facts: Fact[] = [
    { name: words.into, value: size(told.bytes_in) },
    { name: words.out, value: size(told.bytes_out) },
    { name: words.connections, value: words.ofWhichOpen(told.connections, told.open) },
    ...(told.upstream_errors ? [{ name: words.faults, value: told.upstream_errors }] : []),
    { name: words.refused, value: told.denied },
    ...reasons.map(([reason, value]) => ({ name: text.exit.reasons[reason] ?? reason, value, part: true })),
  ];
  return (
    <section class="usage" aria-label={words.title}>
      <Facts facts={facts} />
      {told.latency_ms.count ? <LatencyBars latency={told.latency_ms} /> : null}
      {told.quota_left !== null && (
        <div class="quota-left">
          <meter
            min={0}
            max={told.byte_quota}
            value={Math.min(told.quota_used, told.byte_quota)}
            high={told.byte_quota * 0.9}
            aria-label={words.quota}
          />
          <span>{words.left(size(told.quota_left), size(told.byte_quota))}</span>
          {onReset && (
            <Button onClick={onReset} busy={busy}>
              {words.reset}
            </Button>
          )}
        </div>
      )}
    </section>
  );
}

const WIDTH = 290;
const HEIGHT = 48;

/** How many connections took how long: a bar for each of the buckets. */
function LatencyBars({ latency }: { latency: Latency }) {
  const id = useId();
  const below = Object.values(latency.buckets ?? {});
  const counts = below.map((count, index) => count - (below[index - 1] ?? 0));
  const most = Math.max(1, ...counts);
  const step = WIDTH / counts.length;
  const words = text.exit.usage.latency(latency.p50 ?? 0, latency.p95 ?? 0);
  return (
    <figure class="latency-bars">
      <svg class="graph" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-labelledby={id}>
        {counts.map((count, index) => {
          const high = (count / most) * (HEIGHT - 4);
          return <rect key={index} x={index * step + 1} y={HEIGHT - high} width={step - 2} height={high} />;
        })}
      </svg>
      <figcaption id={id}>{words}</figcaption>
    </figure>
  );
}
