package main

import (
	"encoding"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"natlab/nat/report"
)

var update = flag.Bool("update", false, "write schema.json anew")

// object is one of a JSON Schema.
type object = map[string]any

// The schema is that of the types which are printed, with what the manual tells of each field.
func TestSchema(t *testing.T) {
	t.Parallel()
	sections := sectionsOf(t)
	defs := object{}
	for title, typ := range sharedTypes {
		defs[typ.Name()] = schemaMaker{shared: sections, texts: textsIn(sections[title])}.of("", typ)
	}
	var any []object
	for _, d := range documentKinds() {
		of, section := d.of, sections[d.heading]
		require.NotEmpty(t, section, d.heading)
		m := schemaMaker{shared: sections, texts: textsIn(section)}
		var doc object
		if of.Kind() == reflect.Slice {
			require.True(t, strings.HasSuffix(d.kind, "List"), d.kind)
			doc = object{"type": "object", "required": []string{"items"}, "properties": object{"items": object{"type": "array", "items": m.of("", of.Elem())}}}
		} else {
			doc = m.of("", of)
		}
		properties := doc["properties"].(object) //nolint:forcetypeassert // a document is an object
		require.NotContains(t, properties, "kind", d.kind)
		require.NotContains(t, properties, "apiVersion", d.kind)
		properties["apiVersion"], properties["kind"] = object{"const": report.APIVersion}, object{"const": d.kind}
		doc["required"] = append([]string{"apiVersion", "kind"}, doc["required"].([]string)...) //nolint:forcetypeassert // made above
		doc["description"] = "natlab " + d.heading
		defs[d.kind] = doc
		any = append(any, object{"$ref": "#/$defs/" + d.kind})
	}
	text, err := json.MarshalIndent(object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:natlab:v1alpha1",
		"title": "What natlab prints as JSON", "oneOf": any, "$defs": defs,
	}, "", " ")
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("schema.json", append(text, '\n'), 0o600))
		return
	}
	require.Equal(t, string(text)+"\n", schema, "go test ./cmd/natlab -run TestSchema -update writes it anew")
}

// schemaMaker makes the schema of types.
type schemaMaker struct {
	shared map[string]string // the page's sections, for types that have one of their own
	texts  map[string]string // what the section tells of a field, by its path
}

func (m schemaMaker) of(path string, typ reflect.Type) object {
	for _, s := range sharedTypes {
		if s == typ && path != "" {
			return object{"$ref": "#/$defs/" + typ.Name()}
		}
	}
	switch kind := typ.Kind(); {
	case kind == reflect.Pointer:
		return m.of(path, typ.Elem())
	case typ.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return words(typ)
	case kind == reflect.Slice:
		return object{"type": "array", "items": m.of(path+"[]", typ.Elem())}
	case kind == reflect.Array:
		return object{"type": "array", "items": m.of(path+"[]", typ.Elem()), "minItems": typ.Len(), "maxItems": typ.Len()}
	case kind == reflect.Struct:
		doc := object{"type": "object", "properties": object{}, "required": []string{}}
		m.fields(path, typ, doc)
		return doc
	case kind == reflect.String:
		return object{"type": "string"}
	case kind == reflect.Bool:
		return object{"type": "boolean"}
	case kind == reflect.Float64:
		return object{"type": "number"}
	case kind >= reflect.Int && kind <= reflect.Int64:
		return object{"type": "integer"}
	case kind >= reflect.Uint && kind <= reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	}
	panic(fmt.Sprintf("%s: a schema of %s is not known", path, typ))
}

// fields adds those of a struct; one that is embedded has them in the same object.
func (m schemaMaker) fields(path string, typ reflect.Type, doc object) {
	properties := doc["properties"].(object) //nolint:forcetypeassert // made by of
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
			continue
		case f.Anonymous && name == "":
			for title, s := range sharedTypes {
				if s == f.Type {
					schemaMaker{m.shared, textsIn(m.shared[title])}.fields("", f.Type, doc)
				}
			}
			if !shared(f.Type) {
				m.fields(path, f.Type, doc)
			}
			continue
		}
		at := strings.TrimPrefix(path+"."+name, ".")
		one := m.of(at, f.Type)
		if text := m.texts[at]; text != "" {
			one["description"] = text
		}
		properties[name] = one
		if !strings.Contains(options, "omit") {
			doc["required"] = append(doc["required"].([]string), name) //nolint:forcetypeassert // made by of
		}
	}
}

// words are those that an enumeration has; any other text has no list of them.
func words(typ reflect.Type) object {
	out := object{"type": "string"}
	if typ.Kind() != reflect.Uint8 {
		return out
	}
	var known []string
	for v := range 256 {
		if text, ok := wordOf(typ, uint64(v)); ok && !slices.Contains(known, text) { //nolint:gosec // below 256
			known = append(known, text)
		}
	}
	if len(known) < 20 { // protocols have names and numbers
		out["enum"] = known
	}
	return out
}

// wordOf is the word for a value of an enumeration, if there is one.
func wordOf(typ reflect.Type, v uint64) (text string, ok bool) {
	defer func() { ok = recover() == nil && ok }() // an array of words ends
	value := reflect.New(typ).Elem()
	value.SetUint(v)
	b, err := value.Interface().(encoding.TextMarshaler).MarshalText() //nolint:forcetypeassert // the caller asked
	return string(b), err == nil && !strings.HasSuffix(string(b), fmt.Sprintf("(%d)", v)) && string(b) != strconv.FormatUint(v, 10)
}

// textsIn are what the rows of a section's table tell, by the fields' paths.
func textsIn(section string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(section) {
		cell, ok := strings.CutPrefix(line, "| ")
		if !ok {
			continue
		}
		cells := cellsOf(strings.TrimSpace(line))
		cell, _, _ = strings.Cut(cell, " |")
		for path := range fieldsIn("| " + cell + " |\n") {
			out[strings.TrimSuffix(path, "[]")] = strings.Join(cells[1:], "; ")
		}
	}
	return out
}

// Each command that has a form json prints a kind that is listed, and none is listed that is not there.
func TestEveryJSONHasAKind(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{"natlab get": true} // Kubernetes' kinds
	for _, d := range documentKinds() {
		command, _, _ := strings.Cut(strings.TrimSuffix(d.heading, ", of bundles"), " -")
		listed["natlab "+command] = true
		for _, also := range d.also {
			listed["natlab "+also] = true
		}
	}
	there := map[string]bool{}
	p := program{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if f := cmd.Flags().Lookup("output"); f != nil && slices.Contains(strings.Split(f.Value.Type(), "|"), "json") {
			there[cmd.CommandPath()] = true
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(p.root())
	require.Equal(t, there, listed)
	for _, row := range documentKinds() {
		require.Contains(t, page, "| `"+row.kind+"` | `natlab "+strings.TrimSuffix(row.heading, ", of bundles")+"`", "the manual's list of kinds")
	}
}
