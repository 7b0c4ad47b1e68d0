// What the page says, to people and to the gateway.

// Providers whose name is not written as any word is.
const COMPANIES = { openai: "OpenAI" };
const companyOf = (provider) => COMPANIES[provider] || provider.charAt(0).toUpperCase() + provider.slice(1);
const isStandIn = (result) => result.model_version.startsWith("standin-");

export function answeredBy(result) {
  const time = `in ${Math.round(result.duration_ms)} ms`;
  if (result.served_by === "custom") return `Answered by Savo's own model ${result.model_version} ${time}.`;
  const company = companyOf(result.served_by);
  if (!isStandIn(result)) return `Answered by ${company} (${result.model_version}) ${time}.`;
  return `Answered by a stand-in for ${company} ${time}. It recognises nothing: it knows only the photos of the folder that it was started with.`;
}

export function found(result) {
  if (result.items.length) return `${result.items.length} found. Mend what is wrong, then confirm.`;
  if (!isStandIn(result)) return "Nothing found. Add what you see.";
  return "Nothing found: a stand-in answers here, and it knows only the photos that it was started with (for make up those in .savo/standin/images). Add what you see.";
}

// One row as POST /v1/scans/{id}/confirmation takes it.
export function wordOn(row) {
  const box = row.frame && !row.frame.draft ? row.frame.box : null, at = (bbox) => (bbox ? { bbox } : {}), text = row.text.trim();
  if (row.seen) {
    const { label, name, bbox } = row.seen;
    if (row.removed) return { label, action: "removed", ...at(bbox) };
    if (text !== name) return { label: text, action: "renamed", from_label: label, ...at(box || bbox) };
    return { label, action: row.moved && bbox ? "moved" : "kept", ...at(box || bbox) };
  }
  if (!row.told) return { label: text, action: "added", ...at(box) };
  if (row.removed) return { label: row.told.text, action: "removed", ...at(box) };
  if (text !== row.told.text) return { label: text, action: "renamed", from_label: row.told.text, ...at(box) };
  return { label: text, action: row.moved && box ? "moved" : "kept", ...at(box) };
}

// What becomes of a confirmed photo, as far as it is decided here: the collector still looks at its sharpness and for doubles.
export function afterwards(said, house, allowed) {
  const thanks = "Thank you. Your word is kept.", there = said.items.filter((item) => item.action !== "removed"), boxless = there.filter((item) => !item.bbox);
  if (!house.collects) return `${thanks} Photos are not collected for training here.`;
  if (!allowed) return `${thanks} The photo trains nothing, as you wish.`;
  if (!there.length) return `${thanks} With nothing named in it, the photo teaches nothing.`;
  if (boxless.length) return `${thanks} Before the photo can teach the next model it needs a box around ${boxless.map((item) => item.label.replaceAll("_", " ")).join(", ")}.`;
  if (!said.nothing_missing) return `${thanks} The photo can teach the next model, but never test one: there is more in it than is named.`;
  return `${thanks} The photo can teach the next model.`;
}
