import { useState } from "preact/hooks";
import { asProblem, type Problem } from "./api/problem";
import { Cell } from "./cell";
import { Button } from "./parts/button";
import { Dialog } from "./parts/dialog";
import { Field } from "./parts/field";
import { Notice } from "./parts/notice";
import { changePassword } from "./session";
import { text } from "./text";

const words = text.account;

/** Whether the dialog for one's own password is open. */
export const account = new Cell(false);

/** Change one's own password; everyone who is signed in with the old one is signed out, here too. */
export function PasswordDialog() {
  const [current, setCurrent] = useState("");
  const [password, setPassword] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const close = (): void => account.set(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await changePassword(current, password);
      close();
    } catch (error) {
      setProblem(asProblem(error));
      setBusy(false);
    }
  };
  return (
    <Dialog label={words.title} onClose={close}>
      <form onSubmit={(event) => void submit(event)} noValidate>
        <h2>{words.title}</h2>
        <Field
          label={words.current}
          secret
          value={current}
          onValue={setCurrent}
          fault={problem?.fault("current") ?? ""}
          autocomplete="current-password"
          autofocus
        />
        <Field
          label={words.password}
          secret
          value={password}
          onValue={setPassword}
          fault={problem?.fault("password") ?? ""}
          help={words.help}
          autocomplete="new-password"
        />
        {problem && problem.faults.length === 0 && <Notice problem={problem} />}
        <div class="dialog-choices">
          <Button onClick={close}>{text.verbs.cancel}</Button>
          <Button kind="primary" type="submit" busy={busy} disabled={current === "" || password === ""}>
            {words.save}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
