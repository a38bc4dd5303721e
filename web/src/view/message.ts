export interface Message {
  type: string;
  [field: string]: unknown;
}

/** A message of JSON with a type; null for anything else. */
export function parse(data: unknown): Message | null {
  if (typeof data !== "string") return null;
  try {
    const value: unknown = JSON.parse(data);
    if (typeof value === "object" && value !== null && typeof (value as Message).type === "string") {
      return value as Message;
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return null;
}
