// Proposed names: two plain, kind words that anyone can say on the telephone.

const FIRST = (
  "amber ample apt bold brave breezy bright calm cedar clear clever coral crisp dapper dawn deft eager early " +
  "fair fern fine fleet fond gentle glad golden grand green happy hazel honest ivory jolly keen kind lively " +
  "lucid lunar mellow merry misty neat noble olive opal pearl placid plucky proud quick quiet rapid rosy ruby " +
  "sage sandy sharp silver sleek snowy solar steady sunny swift tidal tidy topaz vivid warm wise witty"
).split(" ");
const SECOND = (
  "alder badger beacon birch brook canyon cliff comet cove crane delta dune falcon fjord forest garden glade " +
  "grove harbor heron island jetty kestrel lagoon lark linden lynx maple marsh meadow mesa moss oak orchard " +
  "osprey otter pine plover pond prairie quail reef ridge river robin rowan sparrow spring stone summit swan " +
  "tern thicket valley walnut wharf willow window wren"
).split(" ");

/** A name like `quiet-heron` that none of `taken` has. */
export function proposeName(taken: ReadonlySet<string>, random: () => number = Math.random): string {
  const pick = (words: string[]): string => words[Math.floor(random() * words.length)] ?? "desktop";
  let name = `${pick(FIRST)}-${pick(SECOND)}`;
  for (let n = 2; taken.has(name); n++) name = `${name.replace(/-\d+$/, "")}-${n}`;
  return name;
}
