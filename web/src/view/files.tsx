import { useEffect, useRef, useState } from "preact/hooks";
import { type Client, part } from "../api/client";
import { asProblem, Problem } from "../api/problem";
import { Cell, useCell } from "../cell";
import { size as amount } from "../amount";
import { Button, IconButton } from "../parts/button";
import { Notice } from "../parts/notice";
import { text } from "../text";
import { shownName } from "./downloads";
import { filesPath, type Upload, Uploads } from "./uploads";

const FOLDER = "/home/user/Downloads";

interface Entry {
  name: string;
  type: string;
  size: number;
}

/** Files between here and the desktop's Downloads. */
export class Files {
  readonly uploads: Uploads;
  readonly entries = new Cell<readonly Entry[] | null>(null);
  readonly problem = new Cell<Problem | null>(null);

  constructor(
    private readonly client: Client,
    private readonly desktopId: string,
  ) {
    this.uploads = new Uploads(client);
  }

  /** Where a file is downloaded from: the browser does it, with its own progress and resumption. */
  address(name: string): string {
    return `/v1${this.path(name)}`;
  }

  async read(): Promise<void> {
    try {
      const { entries } = await this.client.get<{ entries: Entry[] }>(`${this.path("")}&list=1`);
      this.entries.set(entries.filter((entry) => entry.type === "file"));
      this.problem.set(null);
    } catch (error) {
      const problem = asProblem(error);
      // Nothing was ever downloaded: there is no such folder yet.
      if (problem.status === 404) this.entries.set([]);
      else this.problem.set(problem);
    }
  }

  /** One after another, each under a name that is free. */
  async upload(files: readonly File[]): Promise<void> {
    await this.read();
    try {
      // Not there before something was put into it.
      await this.client.post(`/desktops/${part(this.desktopId)}/exec`, { argv: ["mkdir", "-p", FOLDER] });
    } catch (error) {
      return this.problem.set(asProblem(error));
    }
    for (const file of files) await this.send(file);
    await this.read();
  }

  private async send(file: File): Promise<void> {
    const name = freeName(file.name, new Set(this.entries.value?.map((entry) => entry.name)));
    this.entries.update((old) => [...(old ?? []), { name, type: "file", size: file.size }]);
    await this.uploads.send(name, this.path(name), file);
  }

  private path(name: string): string {
    return filesPath(this.desktopId, name ? `${FOLDER}/${name}` : FOLDER);
  }
}

/** `name` without what makes it a path, or "name (2)" if that is taken. */
export function freeName(name: string, taken: ReadonlySet<string>): string {
  const plain = name.replace(/[/\0]/g, "_").replace(/^\.+$/, "_") || "file";
  const dot = plain.lastIndexOf(".") > 0 ? plain.lastIndexOf(".") : plain.length;
  for (let number = 1; ; number++) {
    const tried = number === 1 ? plain : `${plain.slice(0, dot)} (${number})${plain.slice(dot)}`;
    if (!taken.has(tried)) return tried;
  }
}

export function FilesPanel({ files }: { files: Files }) {
  const entries = useCell(files.entries);
  const uploads = useCell(files.uploads.list);
  const problem = useCell(files.problem);
  const picker = useRef<HTMLInputElement>(null);
  useEffect(() => void files.read(), [files]);
  return (
    <section aria-label={text.view.files}>
      <p class="panel-help">{text.view.filesHelp}</p>
      <Button icon="plus" onClick={() => picker.current?.click()}>
        {text.view.upload}
      </Button>
      <input
        ref={picker}
        type="file"
        multiple
        hidden
        aria-label={text.view.upload}
        onChange={(event) => {
          const chosen = [...(event.currentTarget.files ?? [])];
          // Else choosing the same file again would change nothing.
          event.currentTarget.value = "";
          void files.upload(chosen);
        }}
      />
      {uploads.map((upload) => (
        <Progress key={upload.id} upload={upload} />
      ))}
      {problem && <Notice problem={problem} />}
      {entries?.length === 0 && <p class="panel-help">{text.view.noFiles}</p>}
      <ul class="files">
        {entries?.map(({ name, size }) => (
          <li key={name}>
            <a href={files.address(name)} download={shownName(name)}>
              <bdi>{shownName(name)}</bdi>
            </a>
            <span class="panel-help">{amount(size)}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Progress({ upload }: { upload: Upload }) {
  if (upload.problem) return <Notice problem={upload.problem} />;
  return (
    <div class="upload-row">
      <label class="upload">
        <span role="status">{upload.state === "waiting" ? text.view.uploadWaiting(upload.name) : upload.name}</span>
        <progress value={upload.sent} max={1} />
      </label>
      {upload.state !== "done" && (
        <IconButton icon="cross" label={text.view.uploadCancel(upload.name)} onClick={upload.cancel} />
      )}
    </div>
  );
}

/** Takes what is dropped anywhere on the view; whether something hovers over it now. */
export function useDrop(files: Files | null, onDrop: () => void): boolean {
  const [over, setOver] = useState(false);
  useEffect(() => {
    if (!files) return;
    const stop = new AbortController();
    const on = (kind: "dragover" | "dragleave" | "drop", act: (event: DragEvent) => void): void =>
      window.addEventListener(kind, act, { signal: stop.signal });
    on("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      setOver(true);
    });
    on("dragleave", (event) => event.relatedTarget === null && setOver(false));
    on("drop", (event) => {
      setOver(false);
      const dropped = [...(event.dataTransfer?.files ?? [])];
      if (dropped.length === 0) return;
      event.preventDefault();
      onDrop();
      void files.upload(dropped);
    });
    return () => stop.abort();
  }, [files]);
  return over;
}
