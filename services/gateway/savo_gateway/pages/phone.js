// The phone page: a photo in, its answer shown, mended and confirmed.

import { BoxEditor } from "./boxes.js";
import { fetchSigned } from "./key.js";
import { afterwards, answeredBy, found, wordOn } from "./texts.js";

const $ = (id) => document.getElementById(id);
const house = { collects: document.body.dataset.collects === "true", asksConsent: document.body.dataset.asksConsent === "true" };
const MIDDLE = { x: 0.35, y: 0.35, width: 0.3, height: 0.3 };
let scan = null, rows = [], turn = 0, kept = false;

const boxes = new BoxEditor($("stage"), {
  ready: () => scan !== null,
  chose: (frame) => rows.forEach((row) => row.line.classList.toggle("chosen", frame !== null && row.frame === frame)),
  changed: (frame) => { const row = rows.find((one) => one.frame === frame); row.moved = true; refresh(row); edited(); },
  draws: (on) => { $("draw").setAttribute("aria-pressed", String(on)); $("draw").textContent = on ? "Now drag across the photo" : "Draw a box"; },
  drew: (box) => {
    const waiting = rows.find((row) => row.wantsBox && !row.removed);
    const row = waiting || newRow();
    give(row, box);
    if (!row.text) row.name.focus({ preventScroll: true });
    edited();
  },
});

function say(text, bad = false) { $("status").textContent = text; $("status").className = bad ? "bad" : ""; }

async function ask(path, options) {
  const mine = turn, told = { waits: (one) => say(one ? "" : "One moment…"), wanted: () => mine === turn };
  const answer = await fetchSigned(path, options, told);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || body.title || answer.statusText);
  return body;
}

$("allow").hidden = !(house.collects && house.asksConsent);
$("photo").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  event.target.value = "";
  if (file) await send(file);
});

function showPhoto(photo) {
  URL.revokeObjectURL($("shown").src);
  $("stage").hidden = true;
  $("shown").src = URL.createObjectURL(photo);
}

// As the gateway keeps it. An <img> sends no key, so it is fetched.
async function showKept(of) {
  if (kept) return;
  kept = true;
  const mine = turn, answer = await fetchSigned(of.links.photo);
  if (answer.ok && mine === turn) showPhoto(await answer.blob());
}

$("shown").addEventListener("load", () => { $("stage").hidden = false; });
// Few browsers read HEIC: then the photo is shown as it is kept, once it is.
$("shown").addEventListener("error", () => { $("stage").hidden = true; if (scan) showKept(scan); });

async function send(file) {
  const mine = ++turn;
  scan = null; rows = []; kept = false; boxes.clear();
  $("answer").hidden = $("served").hidden = true;
  showPhoto(file);
  say("Looking…");
  const form = new FormData(), key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  form.append("image", file);
  if (house.collects && house.asksConsent) form.append("consent", $("consent").checked);
  try {
    let answer = await ask("/v1/scans?wait=20", { method: "POST", body: form, headers: { "Idempotency-Key": key } });
    while (answer.status === "queued" && mine === turn) { await new Promise((done) => setTimeout(done, 1000)); answer = await ask(answer.links.self); }
    if (mine === turn) show(answer);
  } catch (error) { if (mine === turn) say(error.message, true); }
}

function show(answer) {
  if ($("shown").complete && !$("shown").naturalWidth) showKept(answer);
  if (answer.status === "failed") { say(answer.error.message, true); return; }
  scan = answer; scan.allowed = !house.asksConsent || $("consent").checked;
  $("items").replaceChildren(); $("missing").checked = false;
  scan.result.items.forEach((item) => newRow(item));
  $("answer").hidden = $("served").hidden = false;
  $("served").textContent = answeredBy(scan.result);
  $("served").classList.toggle("standin", scan.result.model_version.startsWith("standin-"));
  say(found(scan.result));
  $("next").hidden = true; $("confirm").disabled = false; $("confirm").textContent = "This is right";
}

function newRow(seen = null) {
  const make = (kind, told) => Object.assign(document.createElement(kind), told);
  const row = { seen, text: seen ? seen.name : "", removed: false, moved: false, told: null, frame: null, wantsBox: false };
  row.line = make("li", {});
  row.name = make("input", { type: "text", value: row.text, required: true, maxLength: 120 });
  row.name.setAttribute("aria-label", "Ingredient");
  row.name.addEventListener("input", () => { row.text = row.name.value; if (row.frame) row.frame.name(row.text); edited(); });
  row.name.addEventListener("focus", () => boxes.choose(row.frame));
  const sure = make("span", { className: "sure", textContent: seen ? `${Math.round(seen.confidence * 100)} %` : "yours" });
  row.gone = make("button", { type: "button", className: "plain", textContent: "Not there" });
  row.gone.addEventListener("click", () => { row.removed = !row.removed; refresh(row); edited(); });
  row.boxless = make("span", { className: "boxless", textContent: "without a box " });
  const put = make("button", { type: "button", className: "plain", textContent: "Put one on the photo" });
  put.addEventListener("click", () => { give(row, MIDDLE, true); row.frame.element.focus(); });
  row.boxless.append(put);
  row.line.append(row.name, sure, row.gone, row.boxless);
  $("items").append(row.line);
  rows.push(row);
  if (seen && seen.bbox) { row.frame = boxes.add(seen.bbox, row.text); }
  refresh(row);
  return row;
}

function give(row, box, draft = false) {
  if (row.frame) row.frame.put(box); else row.frame = boxes.add(box, row.text, draft);
  row.frame.draft = draft; row.frame.style(); row.moved = !draft; row.wantsBox = draft;
  boxes.choose(row.frame);
  refresh(row);
}

function refresh(row) {
  const boxed = row.frame && !row.frame.draft;
  if (boxed) row.wantsBox = false;
  row.boxless.hidden = boxed || row.removed;
  row.boxless.firstChild.textContent = row.frame ? "drag its box into place " : "without a box ";
  row.boxless.lastChild.hidden = Boolean(row.frame);
  row.gone.setAttribute("aria-pressed", String(row.removed));
  row.line.classList.toggle("removed", row.removed);
  row.name.required = !row.removed;
  if (row.frame) { row.frame.removed = row.removed; row.frame.style(); }
}

function edited() {
  if (!$("confirm").disabled) return;
  $("confirm").disabled = false; $("confirm").textContent = "Save the change";
}

$("add").addEventListener("click", () => {
  const row = newRow();
  rows.forEach((one) => { one.wantsBox = one === row; });
  boxes.choose(null); boxes.draws(true);
  row.name.focus();
  edited();
});
$("draw").addEventListener("click", () => { boxes.choose(null); boxes.draws(!boxes.drawing); if (boxes.drawing) $("stage").scrollIntoView({ block: "nearest" }); });
$("missing").addEventListener("change", edited);

$("answer").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("confirm").disabled = true;
  boxes.draws(false);
  const spoken = rows.filter((row) => row.seen || row.told || !row.removed), of = scan;
  const body = JSON.stringify({ items: spoken.map(wordOn), nothing_missing: !$("missing").checked });
  try {
    const said = await ask(scan.links.confirmation, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (scan !== of) return;
    spoken.filter((row) => !row.seen).forEach((row) => { row.told = row.removed ? null : { text: row.text }; row.moved = false; });
    say(afterwards(said, house, scan.allowed));
    $("confirm").textContent = "Confirmed"; $("next").hidden = false;
  } catch (error) { say(error.message, true); $("confirm").disabled = false; }
});
