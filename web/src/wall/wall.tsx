import { useEffect, useRef, useState } from "preact/hooks";
import type { Desktop } from "../api/types";
import { useCell } from "../cell";
import { Button } from "../parts/button";
import { Mark } from "../parts/icons";
import { Notice } from "../parts/notice";
import { desktops, mayControl } from "../session";
import { text } from "../text";
import { Header } from "./header";
import { Card } from "./card";
import { Create, creating } from "./create";
import { useWallKeys } from "./keys";

/** All desktops, live. */
export function Wall() {
  const list = useCell(desktops.list);
  const problem = useCell(desktops.problem);
  const [filter, setFilter] = useState("");
  const making = useCell(creating);
  const filterField = useRef<HTMLInputElement>(null);
  const grid = useRef<HTMLUListElement>(null);
  useEffect(() => {
    document.title = `${text.wall.title} · ${text.product}`;
  }, []);
  useWallKeys({ filterField, grid, onCreate: create });
  const shown = list?.filter((desktop) => matches(desktop, filter)) ?? [];
  return (
    <>
      <Header>
        <input
          ref={filterField}
          class="filter"
          type="search"
          value={filter}
          placeholder={text.wall.filter}
          aria-label={text.wall.filter}
          aria-keyshortcuts="/"
          onInput={(event) => setFilter(event.currentTarget.value)}
        />
        {mayControl() && (
          <Button kind="primary" icon="plus" onClick={create}>
            <span class="wide">{text.wall.create}</span>
          </Button>
        )}
      </Header>
      <main id="main" class="wall">
        <h1 class="wall-title">
          {text.wall.title}
          {list && list.length > 0 && <small>{summary(list)}</small>}
        </h1>
        {problem && <Notice problem={problem} />}
        {list?.length === 0 && <Empty />}
        {list && list.length > 0 && shown.length === 0 && (
          <div class="empty">
            <p>{text.wall.noMatch(filter)}</p>
            <Button onClick={() => setFilter("")}>{text.wall.clearFilter}</Button>
          </div>
        )}
        <ul class="grid" ref={grid} aria-busy={list === null && !problem}>
          {list === null && !problem && <Placeholders />}
          {shown.map((desktop) => (
            <Card key={desktop.id} desktop={desktop} />
          ))}
        </ul>
      </main>
      {making && <Create />}
    </>
  );
}

function create(): void {
  if (mayControl()) creating.set(true);
}

function Empty() {
  if (!mayControl()) return <p class="empty">{text.tables.empty}</p>;
  return (
    <div class="empty">
      <Mark />
      <p>{text.wall.empty}</p>
      <Button kind="primary" icon="plus" keys="n" onClick={create}>
        {text.wall.create}
      </Button>
    </div>
  );
}

function Placeholders() {
  return (
    <>
      {[0, 1, 2].map((n) => (
        <li key={n} class="card placeholder" aria-hidden="true">
          <div class="card-picture" />
          <div class="card-foot" />
        </li>
      ))}
    </>
  );
}

function summary(list: readonly Desktop[]): string {
  return text.wall.summary(list.length, list.filter((desktop) => desktop.state === "running").length);
}

function matches(desktop: Desktop, filter: string): boolean {
  const words = [desktop.name, desktop.owner, desktop.state, desktop.isolation, desktop.proxy];
  const all = words.join(" ").toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.includes(word));
}
