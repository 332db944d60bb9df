/** Reads the sources as the compiler does: what a person may read goes through the translator. */
import { describe, expect, it } from 'vitest';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

const SOURCES = ['panel', 'lab', 'widget'].flatMap(folder =>
  readdirSync(join('src', folder)).map(name => join('src', folder, name))
);
const ATTRIBUTES = new Set(['title', 'placeholder', 'aria-label', 'alt', 'label', 'words', 'empty']);
const FIELDS = new Set(['label', 'caption', 'title', 'text', 'warning', 'verb', 'lines', 'message', 'hint', 'billing', 'textContent']);
const MAKERS = new Set(['Error', 'Refused']);
// Unit symbols, names of things and what is typed as it stands are the same in every language.
const SAME = /^(s|min|h|d|%|GB|MB|W|°C|Mbit\/s|Gbit\/s|GPU|RTX|pip|install|gpuplug|lab|\/h)$/;

const isText = (node: ts.Node): node is ts.LiteralLikeNode =>
  ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddle(node) || ts.isTemplateTail(node) || ts.isJsxText(node);

/** Whether `text` has a word that would read differently in another language. */
const hasWords = (text: string) => text.split(/[\s'[\]:,.()<>≥×·–-]+/).some(word => /[A-Za-z]/.test(word) && !SAME.test(word));

/** Whether a person may read the value of `node`: going up, it comes to a place that is shown before one that is not. */
function isShown(node: ts.Node): boolean {
  for (let [child, at] = [node, node.parent]; at; [child, at] = [at, at.parent]) {
    if (ts.isJsxText(node)) {
      return true;
    }
    if (ts.isCallExpression(at) && at.expression !== child) {
      return false;
    }
    if (ts.isNewExpression(at)) {
      return MAKERS.has(at.expression.getText());
    }
    if (ts.isJsxAttribute(at)) {
      return ATTRIBUTES.has(at.name.getText());
    }
    if (ts.isPropertyAssignment(at) && at.initializer === child) {
      return FIELDS.has(at.name.getText().replace(/['"]/g, ''));
    }
    if (ts.isBinaryExpression(at) && at.operatorToken.kind === ts.SyntaxKind.EqualsToken) {
      return ts.isPropertyAccessExpression(at.left) && FIELDS.has(at.left.name.text);
    }
    if (ts.isBinaryExpression(at) && /^[!=]==?$/.test(at.operatorToken.getText())) {
      return false;
    }
    if (ts.isJsxExpression(at) && !ts.isJsxAttribute(at.parent)) {
      return true;
    }
    if (ts.isElementAccessExpression(at) || ts.isTypeNode(at) || ts.isImportDeclaration(at) || ts.isFunctionLike(at)) {
      return false;
    }
  }
  return false;
}

/** What `source` shows without the translator. */
export function bypassing(name: string, source: string): string[] {
  const file = ts.createSourceFile(name, source, ts.ScriptTarget.ES2022, true, name.endsWith('x') ? ts.ScriptKind.TSX : ts.ScriptKind.TS);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (isText(node) && hasWords(node.text) && isShown(node)) {
      const { line } = file.getLineAndCharacterOfPosition(node.getStart());
      found.push(`${name}:${line + 1}: ${node.text.trim()}`);
    }
    node.forEachChild(visit);
  };
  visit(file);
  return found;
}

describe('the translator', () => {
  it('is used for every string that a person reads', () => {
    expect(SOURCES.length).toBeGreaterThan(20);
    expect(SOURCES.flatMap(name => bypassing(name, readFileSync(name, 'utf8')))).toEqual([]);
  });

  it('is missed where it is missing', () => {
    const shown = (source: string) => bypassing('x.tsx', source).length;
    expect(shown("<p>{t.__('Nothing')}</p>")).toBe(0);
    expect(shown('<p>Nothing</p>')).toBe(1);
    expect(shown("<p title='Nothing' class='gp-x' />")).toBe(1);
    expect(shown("<p>{now ? 'Nothing' : t.__('Something')}</p>")).toBe(1);
    expect(shown('<p>{`${a} ago`}</p>')).toBe(1);
    expect(shown('<p>{`${a} GB`}</p>')).toBe(0);
    expect(shown("const x = { hint: 'do it', id: 'do-it' };")).toBe(1);
    expect(shown("item.node.title = 'Nothing'; item.node.className = 'gp';")).toBe(1);
    expect(shown("throw new Error('no answer');")).toBe(1);
    expect(shown("<p>{how === 'offline' && a}</p>")).toBe(0);
  });
});
