import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Client } from "../api/client";
import type { Desktop, Mode, State } from "../api/types";
import { useCell } from "../cell";
import type { Desktops } from "../desktops";
import { IconButton } from "../parts/button";
import { Icon } from "../parts/icons";
import { useStill } from "../parts/still";
import { text } from "../text";
import { Bar } from "./bar";
import { useClipboardInStep } from "./clipboard";
import { Curtain } from "./curtain";
import { DownloadCards } from "./downloads";
import { Comings, Driving } from "./driving";
import { Files } from "./files";
import { loadViewer } from "./screen";
import { keepSize, keptSize, useFollow } from "./size";
import { Viewing } from "./viewing";

export interface ViewProps {
  name: string;
  mode: Mode;
  client: Client;
  source: Desktops;
  /** Without an account there is no wall to go back to, and nothing to start or stop. */
  guest: boolean;
}

const ASLEEP: ReadonlySet<State> = new Set(["pausing", "paused", "resuming"]);

/** One desktop, edge to edge. */
export function View(props: ViewProps) {
  const { name, source } = props;
  const list = useCell(source.list);
  const problem = useCell(source.problem);
  const found = list?.find((desktop) => desktop.name === name || desktop.id === name);
  const seen = useRef<Desktop | undefined>(found);
  seen.current = found ?? seen.current;
  const title = found?.name ?? name;
  useEffect(() => {
    document.title = `${title} · ${text.product}`;
  }, [title]);
  useEffect(() => {
    document.documentElement.classList.add("viewing");
    void loadViewer();
    return () => document.documentElement.classList.remove("viewing");
  }, []);
  const desktop = seen.current;
  if (!desktop) {
    return (
      <div class="view">
        <Curtain gone={list !== null} problem={list === null ? problem : null} {...props} />
      </div>
    );
  }
  // What was shared to look at is looked at, whatever else one may.
  const mode = desktop.access === "view" ? "view" : props.mode;
  return <Opened key={desktop.id} desktop={desktop} gone={list !== null && !found} {...props} mode={mode} />;
}

function Opened({ desktop, gone, ...props }: ViewProps & { desktop: Desktop; gone: boolean }) {
  const { client, mode } = props;
  const holder = useRef<HTMLDivElement>(null);
  const [viewing, setViewing] = useState<Viewing | null>(null);
  // Whoever opens one that is put aside wakes it; one that is put aside while it is open waits to be asked.
  const [waking, setWaking] = useState(ASLEEP.has(desktop.state));
  const running = desktop.state === "running" && !gone;
  useEffect(() => {
    if (!holder.current) return;
    const made = new Viewing(client, desktop.id, mode, holder.current);
    setViewing(made);
    // Whoever does not drive and tries to is told who does.
    const tried = (): void => made.tried();
    const at = holder.current;
    at.addEventListener("pointerdown", tried, true);
    at.addEventListener("keydown", tried, true);
    return () => {
      at.removeEventListener("pointerdown", tried, true);
      at.removeEventListener("keydown", tried, true);
      made.close();
    };
  }, [client, desktop.id, mode]);
  useClipboardInStep(viewing, mode, desktop.clipboard);
  useEffect(() => {
    if (running) setWaking(false);
    if (running || (waking && !gone)) void viewing?.connect();
    else viewing?.close();
  }, [viewing, running, waking, gone]);
  return (
    <div class="view" data-desktop={desktop.name}>
      {viewing && <Backdrop client={client} desktop={desktop} viewing={viewing} />}
      <div class="view-screen" ref={holder} role="application" aria-label={text.view.screen(desktop.name)} />
      {viewing && (
        <Over desktop={desktop} gone={gone} viewing={viewing} waking={waking} onWake={() => setWaking(true)} {...props} />
      )}
    </div>
  );
}

/** Everything that lies over the screen. */
function Over({ desktop, gone, viewing, ...props }: ViewProps & OverProps) {
  const phase = useCell(viewing.phase);
  const screen = useCell(viewing.screen);
  const [size, setSize] = useState(keptSize);
  const files = useMemo(
    () => (props.guest || props.mode === "view" ? null : new Files(props.client, desktop.id)),
    [props.client, desktop.id],
  );
  useEffect(() => {
    keepSize(size);
    if (screen) screen.fitted = size !== "actual";
  }, [screen, size]);
  useFollow(props.client, desktop.id, viewing, size);
  // Before the picture is drawn: whoever sees it may already type.
  useLayoutEffect(() => {
    if (phase.at === "live") screen?.focus();
  }, [screen, phase.at]);
  return (
    <>
      {phase.at !== "live" && <Curtain desktop={desktop} gone={gone} viewing={viewing} problem={null} {...props} />}
      <Bar
        desktop={desktop}
        viewing={viewing}
        size={size}
        onSize={setSize}
        files={files}
        {...props}
      />
      <div class="notes">
        <Driving viewing={viewing} />
        <Comings viewing={viewing} />
        <PasteProblem viewing={viewing} />
        {files && <DownloadCards downloads={viewing.downloads} files={files} />}
      </div>
    </>
  );
}

/** Why what was pasted is not there; until something else is, or it is put aside. */
function PasteProblem({ viewing }: { viewing: Viewing }) {
  const problem = useCell(viewing.pasteProblem);
  if (!problem) return null;
  return (
    <div class="driver stressed worded" role="alert">
      <Icon name="alert" />
      <span>{problem.code === "clipboard_closed" ? text.view.pasteClosed : text.view.pasteFailed(problem)}</span>
      <IconButton icon="cross" label={text.verbs.close} onClick={() => viewing.pasteProblem.set(null)} />
    </div>
  );
}

interface OverProps {
  desktop: Desktop;
  gone: boolean;
  viewing: Viewing;
  waking: boolean;
  onWake: () => void;
}

/** What is seen until the first real picture: the last frame, or the latest still. */
function Backdrop({ client, desktop, viewing }: { client: Client; desktop: Desktop; viewing: Viewing }) {
  const phase = useCell(viewing.phase);
  const lastFrame = useCell(viewing.lastFrame);
  const still = useStill(client, desktop.id, 0, true);
  const holder = useRef<HTMLDivElement>(null);
  useEffect(() => {
    holder.current?.replaceChildren(...(lastFrame ? [lastFrame] : []));
  }, [lastFrame]);
  return (
    <div class={phase.at === "live" ? "backdrop away" : "backdrop"} aria-hidden="true">
      {!lastFrame && still && <img class="backdrop-still" src={still} alt="" />}
      <div class="backdrop-frame" ref={holder} />
    </div>
  );
}
