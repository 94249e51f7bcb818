package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

const schemaFile = "../cmd/natlab/schema.json"

// schemas are those of the documents that natlab prints, by their kinds. A field that the schema has not is a fault here.
var schemas = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	f, err := os.Open(schemaFile)
	if err != nil {
		return nil, err
	}
	text, err := jsonschema.UnmarshalJSON(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	closed(text)
	c := jsonschema.NewCompiler()
	if err := c.AddResource("urn:natlab:v1alpha1", text); err != nil {
		return nil, err
	}
	out := map[string]*jsonschema.Schema{}
	for _, kind := range kindsOf(text) {
		if out[kind], err = c.Compile("urn:natlab:v1alpha1#/$defs/" + kind); err != nil {
			return nil, err
		}
	}
	return out, nil
})

// kindsOf are the kinds of documents of a schema.
func kindsOf(text any) (kinds []string) {
	root, _ := text.(map[string]any)
	all, _ := root["oneOf"].([]any)
	for _, one := range all {
		ref, _ := one.(map[string]any)["$ref"].(string)
		kinds = append(kinds, strings.TrimPrefix(ref, "#/$defs/"))
	}
	return kinds
}

// closed lets no object of a schema have more than its properties.
func closed(schema any) {
	switch x := schema.(type) {
	case map[string]any:
		if _, is := x["properties"].(map[string]any); is && x["type"] == "object" {
			x["additionalProperties"] = false
		}
		for _, below := range x {
			closed(below)
		}
	case []any:
		for _, below := range x {
			closed(below)
		}
	}
}

// isDocument is the command "document KIND".
func isDocument(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: document KIND")
	}
	all, err := schemas()
	ts.Check(err)
	if all[args[0]] == nil {
		ts.Fatalf("%s has no kind %s", schemaFile, args[0])
	}
	ts.Check(valid(all[args[0]], ts.ReadFile("stdout")))
}

// valid is why a text is none of a schema's documents, one or more after each other.
func valid(by *jsonschema.Schema, text string) error {
	documents := json.NewDecoder(strings.NewReader(text))
	documents.UseNumber()
	for n := 0; ; n++ {
		var v any
		switch err := documents.Decode(&v); {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case err != nil:
			return fmt.Errorf("no JSON: %w", err)
		}
		if err := by.Validate(v); err != nil {
			return err
		}
	}
}

// Each kind of document is printed by some script, and held against its schema there.
func TestEachDocumentIsHeldAgainstItsSchema(t *testing.T) {
	t.Parallel()
	all, err := schemas()
	require.NoError(t, err)
	require.Greater(t, len(all), 15)
	scripts, err := filepath.Glob("testdata/cli/*.txtar")
	require.NoError(t, err)
	var text strings.Builder
	for _, name := range scripts {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		text.Write(b)
	}
	for kind := range all {
		require.Contains(t, text.String(), "\ndocument "+kind+"\n")
	}
}

// What is no such document is told.
func TestSchemaTellsWhatIsNoDocument(t *testing.T) {
	t.Parallel()
	all, err := schemas()
	require.NoError(t, err)
	const right = `{"apiVersion":"natlab/v1alpha1","kind":"ApplyResult","services":["a/b"],"started":[],"stopped":[]}`
	for _, row := range []struct{ name, text, why string }{
		{"right", right, ""},
		{"two of them", right + "\n" + right, ""},
		{"a field is missing", strings.Replace(right, `"started":[],`, "", 1), "started"},
		{"a list is null", strings.Replace(right, `["a/b"]`, "null", 1), "/services"},
		{"a number", strings.Replace(right, `"a/b"`, "7", 1), "/services/0"},
		{"a field too many", strings.Replace(right, `"started"`, `"more":1,"started"`, 1), "more"},
		{"another kind", strings.Replace(right, "ApplyResult", "Plan", 1), "/kind"},
		{"no version", strings.Replace(right, `"apiVersion":"natlab/v1alpha1",`, "", 1), "apiVersion"},
		{"nothing", "", "no JSON"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			err := valid(all["ApplyResult"], row.text)
			if row.why == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, row.why)
		})
	}
}
