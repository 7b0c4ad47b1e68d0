// Texts of the phone page, and a row of the page as the gateway's confirmation request takes it.

// Providers whose name is not only capitalised.
const COMPANIES = { openai: "OpenAI" };
const companyOf = (provider) => COMPANIES[provider] || provider.charAt(0).toUpperCase() + provider.slice(1);
const isStandIn = (result) => result.model_version.startsWith("standin-");

export function answeredBy(result) {
  const time = `in ${Math.round(result.duration_ms)} ms`;
  if (result.served_by === "custom") return `Answered by Savo's own model ${result.model_version} ${time}.`;
  const company = companyOf(result.served_by);
  if (!isStandIn(result)) return `Answered by ${company} (${result.model_version}) ${time}.`;
  const limits = "It detects nothing itself: it knows only the photos of the folder that it was started with.";
  return `Answered by a stand-in for ${company} ${time}. ${limits}`;
}

export function itemsFound(result) {
  const count = result.items.length;
  if (count) return `${count} ${count === 1 ? "item" : "items"} found. Correct what is wrong, then confirm.`;
  if (!isStandIn(result)) return "Nothing found. Add the items that you see.";
  const known = "it knows only the photos that it was started with (with make up those in .savo/standin/images)";
  return `Nothing found: a stand-in answers here, and ${known}. Add the items that you see.`;
}

// One item of POST /v1/scans/{id}/confirmation.
export function editOf(row) {
  const box = row.frame && !row.frame.draft ? row.frame.box : null, at = (bbox) => (bbox ? { bbox } : {});
  const text = row.text.trim();
  if (row.detected) {
    const { label, name, bbox } = row.detected;
    if (row.removed) return { label, action: "removed", ...at(bbox) };
    if (text !== name) return { label: text, action: "renamed", from_label: label, ...at(box || bbox) };
    return { label, action: row.moved && bbox ? "moved" : "kept", ...at(box || bbox) };
  }
  if (!row.confirmed) return { label: text, action: "added", ...at(box) };
  const before = row.confirmed.text;
  if (row.removed) return { label: before, action: "removed", ...at(box) };
  if (text !== before) return { label: text, action: "renamed", from_label: before, ...at(box) };
  return { label: text, action: row.moved && box ? "moved" : "kept", ...at(box) };
}

// Whether the photo can become a sample, as far as the gateway knows: the collector also checks quality and duplicates.
export function confirmationText(confirmation, options, consented) {
  const thanks = "Thank you. Your confirmation is saved.";
  const present = confirmation.items.filter((item) => item.action !== "removed");
  const boxless = present.filter((item) => !item.bbox).map((item) => item.label.replaceAll("_", " "));
  if (!options.collects) return `${thanks} Photos are not collected for training here.`;
  if (!consented) return `${thanks} As you chose, the photo is not used for training.`;
  if (!present.length) return `${thanks} No item is left, so the photo is not used for training.`;
  const labels = boxless.join(", ");
  if (labels) return `${thanks} To be used for training, the photo still needs a box around ${labels}.`;
  if (confirmation.nothing_missing) return `${thanks} The photo can train the next model.`;
  return `${thanks} The photo can train the next model, but never test one, because it shows more than is listed.`;
}
