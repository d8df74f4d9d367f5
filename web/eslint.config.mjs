import hooks from 'eslint-plugin-react-hooks';
import tseslint from 'typescript-eslint';

export default tseslint.config(
    { ignores: ['target/', 'node_modules/'] },
    ...tseslint.configs.strict,
    {
        files: ['**/*.ts', '**/*.tsx'],
        plugins: { 'react-hooks': hooks },
        rules: {
            'react-hooks/rules-of-hooks': 'error',
            'react-hooks/exhaustive-deps': 'error',
            'no-console': 'error',
            'no-restricted-globals': ['error', 'localStorage', 'sessionStorage', 'indexedDB'],
            'no-restricted-properties': ['error',
                { property: 'dangerouslySetInnerHTML', message: 'Text is text, never markup.' },
                { property: 'innerHTML', message: 'Text is text, never markup.' }],
            'no-restricted-syntax': ['error',
                { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: 'Text is text, never markup.' }],
        },
    },
);
