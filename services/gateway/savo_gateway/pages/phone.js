// The phone page: sends a photo, shows the detected items and their boxes, and confirms or corrects them.

import { BoxEditor } from "./boxes.js";
import { fetchWithKey } from "./key.js";
import { answeredBy, confirmationText, editOf, itemsFound } from "./texts.js";

const $ = (id) => document.getElementById(id);
const settings = document.body.dataset;
const options = { collects: settings.collects === "true", asksConsent: settings.asksConsent === "true" };
const MIDDLE = { x: 0.35, y: 0.35, width: 0.3, height: 0.3 };
// `upload` counts the photos sent: an answer to an earlier photo is ignored.
let scan = null, rows = [], upload = 0, storedPhotoShown = false;

const boxes = new BoxEditor($("stage"), {
  isEditable: () => scan !== null,
  onSelect: (frame) => {
    rows.forEach((row) => row.line.classList.toggle("chosen", frame !== null && row.frame === frame));
  },
  onChange: (frame) => {
    const row = rows.find((candidate) => candidate.frame === frame);
    row.moved = true;
    refresh(row);
    markEdited();
  },
  onDrawingMode: (on) => {
    $("draw").setAttribute("aria-pressed", String(on));
    $("draw").textContent = on ? "Now drag across the photo" : "Draw a box";
  },
  onDraw: (box) => {
    const row = rows.find((candidate) => candidate.wantsBox && !candidate.removed) || addRow();
    setBox(row, box);
    if (!row.text) row.name.focus({ preventScroll: true });
    markEdited();
  },
});

function showStatus(text, isError = false) {
  $("status").textContent = text;
  $("status").className = isError ? "bad" : "";
}

async function request(path, init) {
  const own = upload;
  const callbacks = { waiting: (on) => showStatus(on ? "" : "One moment…"), isCurrent: () => own === upload };
  const answer = await fetchWithKey(path, init, callbacks);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || body.title || answer.statusText);
  return body;
}

$("allow").hidden = !(options.collects && options.asksConsent);
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

// The photo as the gateway stores it. It is fetched, because an <img> sends no key.
async function showStoredPhoto(of) {
  if (storedPhotoShown) return;
  storedPhotoShown = true;
  const own = upload, answer = await fetchWithKey(of.links.photo);
  if (answer.ok && own === upload) showPhoto(await answer.blob());
}

$("shown").addEventListener("load", () => { $("stage").hidden = false; });
// Few browsers decode HEIC: then the stored photo is shown, which is a JPEG.
$("shown").addEventListener("error", () => {
  $("stage").hidden = true;
  if (scan) showStoredPhoto(scan);
});

async function send(file) {
  const own = ++upload;
  scan = null; rows = []; storedPhotoShown = false; boxes.clear();
  $("answer").hidden = $("served").hidden = true;
  showPhoto(file);
  showStatus("Detecting…");
  const form = new FormData(), random = crypto.getRandomValues(new Uint8Array(16));
  const idempotencyKey = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  form.append("image", file);
  if (options.collects && options.asksConsent) form.append("consent", $("consent").checked);
  try {
    const headers = { "Idempotency-Key": idempotencyKey };
    let answer = await request("/v1/scans?wait=20", { method: "POST", body: form, headers });
    while (answer.status === "queued" && own === upload) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      answer = await request(answer.links.self);
    }
    if (own === upload) show(answer);
  } catch (error) { if (own === upload) showStatus(error.message, true); }
}

function show(answer) {
  if ($("shown").complete && !$("shown").naturalWidth) showStoredPhoto(answer);
  if (answer.status === "failed") { showStatus(answer.error.message, true); return; }
  scan = answer; scan.consented = !options.asksConsent || $("consent").checked;
  $("items").replaceChildren(); $("missing").checked = false;
  scan.result.items.forEach((item) => addRow(item));
  $("answer").hidden = $("served").hidden = false;
  $("served").textContent = answeredBy(scan.result);
  $("served").classList.toggle("standin", scan.result.model_version.startsWith("standin-"));
  showStatus(itemsFound(scan.result));
  $("next").hidden = true; $("confirm").disabled = false; $("confirm").textContent = "Confirm";
}

// A line of the list. detected: the item of the answer; confirmed: what was confirmed of an item that the user added.
function addRow(detected = null) {
  const create = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const state = { removed: false, moved: false, confirmed: null, frame: null, wantsBox: false };
  const row = { detected, text: detected ? detected.name : "", ...state };
  row.line = create("li", {});
  row.name = create("input", { type: "text", value: row.text, required: true, maxLength: 120 });
  row.name.setAttribute("aria-label", "Ingredient");
  row.name.addEventListener("input", () => {
    row.text = row.name.value;
    if (row.frame) row.frame.setLabel(row.text);
    markEdited();
  });
  row.name.addEventListener("focus", () => boxes.select(row.frame));
  const percent = detected ? `${Math.round(detected.confidence * 100)} %` : "added";
  const confidence = create("span", { className: "sure", textContent: percent });
  row.remove = create("button", { type: "button", className: "plain", textContent: "Remove" });
  row.remove.addEventListener("click", () => { row.removed = !row.removed; refresh(row); markEdited(); });
  row.boxless = create("span", { className: "boxless", textContent: "without a box " });
  const addBox = create("button", { type: "button", className: "plain", textContent: "Add a box" });
  addBox.addEventListener("click", () => { setBox(row, MIDDLE, true); row.frame.element.focus(); });
  row.boxless.append(addBox);
  row.line.append(row.name, confidence, row.remove, row.boxless);
  $("items").append(row.line);
  rows.push(row);
  if (detected && detected.bbox) { row.frame = boxes.add(detected.bbox, row.text); }
  refresh(row);
  return row;
}

function setBox(row, box, draft = false) {
  if (row.frame) row.frame.setBox(box); else row.frame = boxes.add(box, row.text, draft);
  row.frame.draft = draft; row.frame.updateStyle(); row.moved = !draft; row.wantsBox = draft;
  boxes.select(row.frame);
  refresh(row);
}

function refresh(row) {
  const boxed = row.frame && !row.frame.draft;
  if (boxed) row.wantsBox = false;
  row.boxless.hidden = boxed || row.removed;
  row.boxless.firstChild.textContent = row.frame ? "drag its box into place " : "without a box ";
  row.boxless.lastChild.hidden = Boolean(row.frame);
  row.remove.setAttribute("aria-pressed", String(row.removed));
  row.line.classList.toggle("removed", row.removed);
  row.name.required = !row.removed;
  if (row.frame) { row.frame.removed = row.removed; row.frame.updateStyle(); }
}

function markEdited() {
  if (!$("confirm").disabled) return;
  $("confirm").disabled = false; $("confirm").textContent = "Save the change";
}

$("add").addEventListener("click", () => {
  const row = addRow();
  rows.forEach((other) => { other.wantsBox = other === row; });
  boxes.select(null); boxes.setDrawingMode(true);
  row.name.focus();
  markEdited();
});
$("draw").addEventListener("click", () => {
  boxes.select(null);
  boxes.setDrawingMode(!boxes.drawing);
  if (boxes.drawing) $("stage").scrollIntoView({ block: "nearest" });
});
$("missing").addEventListener("change", markEdited);

$("answer").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("confirm").disabled = true;
  boxes.setDrawingMode(false);
  const sent = rows.filter((row) => row.detected || row.confirmed || !row.removed), of = scan;
  const body = JSON.stringify({ items: sent.map(editOf), nothing_missing: !$("missing").checked });
  try {
    const headers = { "Content-Type": "application/json" };
    const confirmation = await request(scan.links.confirmation, { method: "POST", headers, body });
    if (scan !== of) return;
    for (const row of sent.filter((row) => !row.detected)) {
      row.confirmed = row.removed ? null : { text: row.text };
      row.moved = false;
    }
    showStatus(confirmationText(confirmation, options, scan.consented));
    $("confirm").textContent = "Confirmed"; $("next").hidden = false;
  } catch (error) { showStatus(error.message, true); $("confirm").disabled = false; }
});
