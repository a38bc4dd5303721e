import { size } from "../amount";
import { Cell, useCell } from "../cell";
import { IconButton } from "../parts/button";
import { Icon } from "../parts/icons";
import { text } from "../text";
import type { Files } from "./files";

/** A file that a program in the desktop has finished. */
export interface Download {
  name: string;
  size: number;
}

const MOST = 4;

/** Those that are offered now, the newest last. */
export class Downloads {
  readonly offered = new Cell<readonly Download[]>([]);

  offer(name: string, bytes: number): void {
    if (!name || name.includes("/") || !Number.isFinite(bytes)) return;
    this.offered.update((old) => [...old.filter((one) => one.name !== name), { name, size: bytes }].slice(-MOST));
  }

  dismiss(name: string): void {
    this.offered.update((old) => old.filter((one) => one.name !== name));
  }
}

/** A name from a desktop as it is shown, and as a file is called here: nothing in it turns its end around, breaks
 * the line or leads elsewhere. */
export function shownName(name: string): string {
  return name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}/\\]/gu, "\ufffd").replace(/^\.+/, "_") || "file";
}

/** A card for each. */
export function DownloadCards({ downloads, files }: { downloads: Downloads; files: Files }) {
  const offered = useCell(downloads.offered);
  if (offered.length === 0) return null;
  return (
    <ul class="downloads" aria-label={text.view.downloads} aria-live="polite">
      {offered.map((one) => {
        const name = shownName(one.name);
        const done = (): void => downloads.dismiss(one.name);
        return (
          <li key={one.name} class="download">
            <Icon name="folder" />
            <bdi class="download-name" title={name}>
              {name}
            </bdi>
            <span class="panel-help">{size(one.size)}</span>
            <a
              class="button primary"
              href={files.address(one.name)}
              download={name}
              aria-label={text.view.downloadSave(name)}
              onClick={done}
            >
              {text.view.downloadSaveShort}
            </a>
            <IconButton icon="cross" label={text.view.downloadDismiss(name)} onClick={done} />
          </li>
        );
      })}
    </ul>
  );
}
