/** Which rows of a long list are to be drawn: those in sight, and a few around them. */

export interface ISpan {
  first: number;
  last: number;
}

const AROUND = 6;

/** The rows from `first` up to, not including, `last` of `count` rows of `height` px. */
export function span(count: number, height: number, top: number, sight: number): ISpan {
  const first = Math.max(0, Math.min(Math.floor(top / height), count) - AROUND);
  return { first, last: Math.min(count, Math.ceil((top + sight) / height) + AROUND) };
}

/** Where to scroll so that row `index` is in sight, `null` when it is. */
export function reach(index: number, height: number, top: number, sight: number): number | null {
  const start = index * height;
  if (start < top) {
    return start;
  }
  return start + height > top + sight ? start + height - sight : null;
}
