import { render } from "preact";
import "./style/ground.css";
import "./style/parts.css";
import "./style/wall.css";
import "./style/view.css";
import "./style/tables.css";
import { App } from "./app";
import { arrive } from "./session";

const page = document.getElementById("page");
if (!page) throw new Error("index.html has no #page");
render(<App />, page);
void arrive();
