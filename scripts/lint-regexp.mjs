/**
 * A rule for oxlint: a regular expression of the product stands in it as it is. One that is put together when it is used
 * is seen by no checker, so that nobody knows how its time grows with the text it is held against.
 */
const writtenOut = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    const check = ({ callee, arguments: [pattern] }) => {
      if (callee.type !== 'Identifier' || callee.name !== 'RegExp') return {};
      const isText = pattern?.type === 'Literal' && typeof pattern.value === 'string';
      if (!isText) {
        context.report({
          node: callee,
          message:
            'This regular expression is put together here: write it out, or compare texts (startsWith, indexOf).',
        });
      }
      return {};
    };
    return { NewExpression: check, CallExpression: check };
  },
};

export default { meta: { name: 'tandem' }, rules: { 'regexp-written-out': writtenOut } };
