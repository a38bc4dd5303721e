export interface Fact {
  name: string;
  value: string | number;
  /** A part of the fact above it. */
  part?: boolean;
}

/** Names and what they are, one a line. */
export function Facts({ facts }: { facts: readonly Fact[] }) {
  return (
    <dl class="facts-list">
      {facts.map(({ name, value, part }) => (
        <div key={name} class={part ? "part" : undefined}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
