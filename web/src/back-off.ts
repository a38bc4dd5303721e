const FIRST_MS = 500;
const LONGEST_MS = 15_000;

/** Milliseconds to wait before try number `attempt` + 1 (from 0): doubling, with a fifth of chance, so
 * that the viewers of a restarted server do not all come back in the same moment. */
export function backOff(attempt: number, random: () => number = Math.random): number {
  const plain = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.round(plain * (0.8 + 0.4 * random()));
}
