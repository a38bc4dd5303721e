import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Client } from "../api/client";
import type { Desktop, Mode } from "../api/types";
import { useCell } from "../cell";
import type { Desktops } from "../desktops";
import { WayOut } from "../exit/way-out";
import { ExitBadge, StateMark } from "../parts/badges";
import { Button, IconButton } from "../parts/button";
import type { IconName } from "../parts/icons";
import { go } from "../route";
import { text } from "../text";
import { Choice } from "../parts/field";
import { ClipboardPanel } from "./clipboard";
import { ConnectionPanel, latencyOf } from "./connection";
import { type Files, FilesPanel, useDrop } from "./files";
import type { Size } from "./size";
import { keep } from "./keep";
import { KeysPanel } from "./keys";
import { SharePanel } from "./share";
import { enterFullscreen, leaveFullscreen, useFullscreen } from "./fullscreen";
import { useShortcuts, withShortcut } from "./shortcuts";
import { type Panel, type Tool, useLocking, useRecording, useSounding, VoicePanel } from "./tools";
import type { Viewing } from "./viewing";

interface BarProps {
  desktop: Desktop;
  viewing: Viewing;
  client: Client;
  source: Desktops;
  mode: Mode;
  guest: boolean;
  size: Size;
  onSize: (size: Size) => void;
  /** null: this viewer may not. */
  files: Files | null;
}


const LINGER_MS = 1600;

/** The controls at the top edge: away while the desktop is live, back when the pointer or a key asks. */
export function Bar(props: BarProps) {
  const { desktop, viewing, guest, mode } = props;
  const [panel, setPanel] = useState<Panel | null>(null);
  const live = useCell(viewing.phase).at === "live";
  const shown = useReveal(live, panel !== null);
  const full = useFullscreen();
  const backToScreen = (): void => {
    setPanel(null);
    shown.hide();
    viewing.screen.value?.focus();
  };
  const toggle = (wanted: Panel): void => {
    if (panel === wanted) return backToScreen();
    shown.show();
    setPanel(wanted);
  };
  const sounding = useSounding(viewing, live, mode, () => toggle("voice"));
  const recording = useRecording(viewing, desktop.name);
  const locking = useLocking(viewing, live, mode, shown.hide);
  const tools = toolsOf(props, live, full, toggle, [...locking, ...sounding, ...recording]);
  const dropping = useDrop(live ? props.files : null, () => {
    shown.show();
    setPanel("files");
  });
  useShortcuts((letter) => {
    if (letter === "M") shown.toggle();
    else if (letter === "W" && !guest) go("/");
    else if (letter === "D") toggle("connection");
    else if (letter === "T") viewing.session.value?.say("take");
    else tools.find((tool) => tool.letter === letter)?.act();
  });
  return (
    <div
      class={shown.on ? "bar-zone shown" : "bar-zone"}
      ref={shown.zone}
      onPointerEnter={shown.show}
      onPointerLeave={shown.linger}
      onKeyDown={(event) => event.key === "Escape" && backToScreen()}
    >
      <button class="bar-handle" type="button" aria-label={text.view.showBar} onClick={shown.toggle} />
      <div class="bar" role="toolbar" aria-label={text.view.bar} inert={!shown.on}>
        {!guest && (
          <IconButton icon="grid" label={withShortcut(text.view.toWall, "W")} onClick={() => go("/")} />
        )}
        <strong class="bar-name">{desktop.name}</strong>
        <ConnectionMark viewing={viewing} desktop={desktop} mode={mode} />
        {live && <Latency viewing={viewing} open={panel === "connection"} onToggle={() => toggle("connection")} />}
        <span class="wide">
          <ExitBadge proxy={desktop.proxy} exit={desktop.exit} />
        </span>
        <span class="bar-space" />
        {tools.map((tool) => (
          <IconButton
            key={tool.id}
            icon={tool.icon}
            label={withShortcut(tool.label, tool.letter)}
            {...(tool.panel && { expanded: panel === tool.panel })}
            {...(tool.pressed !== undefined && { pressed: tool.pressed })}
            onClick={tool.act}
          />
        ))}
      </div>
      {dropping && <div class="drop" aria-hidden="true">{text.view.drop}</div>}
      {panel && shown.on && (panel === "connection" || tools.some((tool) => tool.panel === panel)) && (
        <PanelFrame key={panel}>
          {panel === "keys" && <KeysPanel viewing={viewing} />}
          {panel === "clipboard" && (
            <ClipboardPanel viewing={viewing} desktop={desktop} source={props.source} mode={mode} />
          )}
          {panel === "files" && props.files && <FilesPanel files={props.files} />}
          {panel === "size" && <SizePanel size={props.size} onSize={props.onSize} />}
          {panel === "connection" && <ConnectionPanel viewing={viewing} />}
          {panel === "exit" && (
            <WayOut
              title={text.view.exit}
              desktop={desktop}
              client={props.client}
              onChanged={() => void props.source.readAll()}
            />
          )}
          {panel === "share" && <SharePanel client={props.client} desktop={desktop} viewing={viewing} mode={mode} />}
          {panel === "voice" && <VoicePanel viewing={viewing} />}
          {panel === "stop" && <StopPanel desktop={desktop} source={props.source} onDone={backToScreen} />}
        </PanelFrame>
      )}
    </div>
  );
}

/** Takes the focus when it opens: its keys are then the page's, not the desktop's. */
function PanelFrame({ children }: { children: ComponentChildren }) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (ref.current?.contains(document.activeElement)) return;
    ref.current?.querySelector<HTMLElement>("button, textarea, select, input")?.focus();
  }, []);
  return (
    <div class="panel" ref={ref}>
      {children}
    </div>
  );
}

function ConnectionMark({ viewing, desktop, mode }: { viewing: Viewing; desktop: Desktop; mode: Mode }) {
  const phase = useCell(viewing.phase);
  if (desktop.state !== "running") return <StateMark desktop={desktop} />;
  const live = phase.at === "live";
  const words = mode === "view" ? text.view.liveView : text.view.live;
  return (
    <span class={live ? "state running live" : "state starting"}>
      <span class="state-dot" aria-hidden="true" />
      {live ? words : text.view.reconnecting}
    </span>
  );
}

interface LatencyProps {
  viewing: Viewing;
  open: boolean;
  onToggle: () => void;
}

/** The one figure that says how it feels; behind it are the others. */
function Latency({ viewing, open, onToggle }: LatencyProps) {
  const figures = useCell(viewing.figures);
  if (!figures) return null;
  return (
    <button
      type="button"
      class="latency"
      title={withShortcut(text.view.connection, "D")}
      aria-expanded={open}
      onClick={onToggle}
    >
      {latencyOf(viewing)} <span class="latency-rung">{text.view.rungsShort[figures.rung]}</span>
    </button>
  );
}

const SIZES: readonly Size[] = ["fit", "actual", "follow", "sharp"];

function SizePanel({ size, onSize }: { size: Size; onSize: (size: Size) => void }) {
  return (
    <section>
      <Choice
        label={text.view.size}
        value={size}
        options={SIZES.map((one) => [one, text.view.sizes[one]] as const)}
        onValue={(value) => onSize(value as Size)}
      />
      <p class="panel-help">{text.view.sizeHelp}</p>
    </section>
  );
}

interface StopPanelProps {
  desktop: Desktop;
  source: Desktops;
  onDone: () => void;
}

function StopPanel({ desktop, source, onDone }: StopPanelProps) {
  const stop = (): void => {
    onDone();
    void source.shutDown(desktop);
  };
  return (
    <section>
      <strong>{text.view.stopQuestion(desktop.name)}</strong>
      <p class="panel-help">{text.view.stopConsequence}</p>
      <div class="panel-row">
        <Button kind="primary" icon="stop" onClick={stop}>
          {text.verbs.stop}
        </Button>
        <Button focused onClick={onDone}>
          {text.view.stopKeep}
        </Button>
      </div>
    </section>
  );
}

/** What can be done now. Without a live screen, only what needs none. */
function toolsOf(props: BarProps, live: boolean, full: boolean, toggle: (panel: Panel) => void, media: Tool[]): Tool[] {
  const { desktop, viewing, guest, mode, source } = props;
  const words = text.view;
  const opens = (panel: Panel, icon: IconName, letter: string): Tool => ({
    id: panel,
    icon,
    label: words[panel],
    letter,
    act: () => toggle(panel),
    panel,
  });
  const tools: Tool[] = [];
  if (live && mode === "control") tools.push(opens("keys", "keyboard", "K"));
  if (live) {
    const shoot = (): void => void save(viewing, desktop.name);
    tools.push(opens("clipboard", "clipboard", "C"));
    tools.push({ id: "picture", icon: "camera", label: words.screenshot, letter: "S", act: shoot });
    tools.push(...media);
    if (props.files) tools.push(opens("files", "folder", "U"));
    tools.push(opens("size", "fit", "Z"));
  }
  if (desktop.state === "running" && !guest) {
    if (mode === "control" && desktop.proxy !== null) tools.push(opens("exit", "globe", "E"));
    tools.push(opens("share", "share", "L"));
    if (mode === "control") {
      const pause = (): void => void source.pause(desktop);
      tools.push({ id: "pause", icon: "pause", label: words.pause, letter: "P", act: pause });
      tools.push(opens("stop", "stop", "Q"));
    }
  }
  const turn = (): void => void (full ? leaveFullscreen() : enterFullscreen());
  const label = full ? words.leaveFullscreen : words.fullscreen;
  tools.push({ id: "full", icon: full ? "shrink" : "expand", label, letter: "F", act: turn });
  return tools;
}

/** Whether the bar is out. It always is while there is no live screen under it, and while `held`. */
function useReveal(live: boolean, held: boolean) {
  const [wanted, setWanted] = useState(true);
  const zone = useRef<HTMLDivElement>(null);
  const timer = useRef(0);
  const show = (): void => {
    clearTimeout(timer.current);
    setWanted(true);
  };
  const hide = (): void => {
    clearTimeout(timer.current);
    setWanted(false);
  };
  const linger = (): void => {
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => {
      if (!zone.current?.matches(":hover, :focus-within")) setWanted(false);
    }, LINGER_MS);
  };
  useEffect(() => {
    // It is seen for a moment, so that people know where it went.
    if (live) linger();
    return () => clearTimeout(timer.current);
  }, [live]);
  const on = wanted || !live || held;
  const toggle = (): void => {
    if (wanted) return hide();
    show();
    // Not before it is drawn: what is inert takes no focus.
    requestAnimationFrame(() => zone.current?.querySelector<HTMLElement>(".bar .icon-button")?.focus());
  };
  return { on, zone, show, hide, linger, toggle };
}

async function save(viewing: Viewing, name: string): Promise<void> {
  const picture = await viewing.screen.value?.picture();
  if (picture) keep(picture, name);
}
