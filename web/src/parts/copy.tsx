import { useState } from "preact/hooks";
import { text } from "../text";
import { Button } from "./button";

interface CopyProps {
  value: string;
  /** In another way than as plain text. */
  write?: () => Promise<void>;
}

/** Copies `value`; its own label says whether that worked. */
export function CopyButton({ value, write }: CopyProps) {
  const [said, setSaid] = useState<"copied" | "failed" | null>(null);
  const copy = async (): Promise<void> => {
    try {
      await (write ? write() : navigator.clipboard.writeText(value));
      setSaid("copied");
    } catch {
      setSaid("failed");
    }
  };
  const label = { copied: text.verbs.copied, failed: text.verbs.copyFailed, idle: text.verbs.copy }[said ?? "idle"];
  return (
    <Button icon={said === "copied" ? "check" : "copy"} onClick={() => void copy()}>
      <span role="status">{label}</span>
    </Button>
  );
}
