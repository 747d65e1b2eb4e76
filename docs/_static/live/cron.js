// What a cron expression means and when it fires next: cronstrue and croner, for standard cron of five fields alone.
const PARTS = new URL("../../live/", import.meta.url);
const ITEM = "(\\*|[0-9]+(-[0-9]+)?|[a-z]{3}(-[a-z]{3})?)(/[0-9]+)?";
const FIELDS = new RegExp(`^${ITEM}(,${ITEM})*( ${ITEM}(,${ITEM})*){4}$`, "i");

// cronstrue in the words of cron-descriptor, which the adapter was trained on. Two kinds of days are joined by OR.
const REWORDED = [[/^On the hour, every/, "Every"], [/ days in a month/, " days"], [/, and on /, ", or on "]];
const english = (text) => REWORDED.reduce((said, [from, to]) => said.replace(from, to),
  globalThis.cronstrue.toString(text, { verbose: false }));

export async function reader() {
  const { Cron } = await import(new URL("croner.js", PARTS));
  await import(new URL("cronstrue.js", PARTS));
  // A schedule, or null for what is no standard cron: its English, and its next times after a date.
  return (text) => {
    if (!FIELDS.test(text)) return null;
    try {
      const cron = new Cron(text, { sloppyRanges: true });
      return {
        meaning: english(text),
        next: (count, after = new Date()) => cron.nextRuns(count, after),
      };
    } catch {
      return null;
    }
  };
}
