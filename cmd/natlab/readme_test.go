package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"natlab/lab/doctor"
	"natlab/nat"
	"natlab/nat/proof"
)

// sectionsOf are the parts of README.md by their headings of three signs.
func sectionsOf(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	out := map[string]string{}
	for part := range strings.SplitSeq(string(text), "\n### ") {
		title, body, _ := strings.Cut(part, "\n")
		body, _, _ = strings.Cut(body, "\n## ")
		out[strings.ReplaceAll(title, "`", "")] = body
	}
	return out
}

// rowsOf are the first cells of a section's table.
func rowsOf(section string) (cells []string) {
	for line := range strings.Lines(section) {
		if cell, ok := strings.CutPrefix(line, "| "); ok {
			cell, _, _ = strings.Cut(strings.ReplaceAll(cell, `\|`, "/"), " |")
			cells = append(cells, cell)
		}
	}
	return cells
}

// The page has every command with its usage line and its flags, and none that is not there.
func TestPageHasTheCommands(t *testing.T) {
	t.Parallel()
	sections := sectionsOf(t)
	p := program{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
	known := map[string]bool{"natlab completion": true} // cobra's
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if !sub.Hidden && !sub.IsAdditionalHelpTopicCommand() && sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub)
			}
		}
		if !cmd.HasParent() {
			return
		}
		known[cmd.CommandPath()] = true
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			section, ok := sections[cmd.CommandPath()]
			require.True(t, ok, "the page has no section of it")
			require.Contains(t, section, "```text\n"+cmd.UseLine()+"\n```", "its usage line")
			require.Equal(t, flagsOf(cmd), flagsIn(section))
		})
	}
	walk(p.root())
	for title := range sections {
		require.True(t, !strings.HasPrefix(title, "natlab ") || known[title], "the page has a command %s, which natlab has not", title)
	}
}

// flagsOf are the names of a command's flags, sorted.
func flagsOf(cmd *cobra.Command) []string {
	names := []string{}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			names = append(names, f.Name)
		}
	})
	slices.Sort(names)
	return names
}

var flagName = regexp.MustCompile("`--([a-z0-9-]+)")

func flagsIn(section string) []string {
	names := []string{}
	for _, cell := range rowsOf(section) {
		for _, m := range flagName.FindAllStringSubmatch(cell, -1) {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return names
}

// sharedTypes are the values that several JSON outputs have, by their headings.
var sharedTypes = map[string]reflect.Type{
	"A way":               reflect.TypeFor[nat.Outcome](),
	"A rule that was met": reflect.TypeFor[nat.Step](),
	"A hop":               reflect.TypeFor[nat.Hop](),
	"A conntrack entry":   reflect.TypeFor[nat.Conn](),
}

// schemas are the types that sections of the page document, by their headings: of a list that of its elements.
func schemas() map[string]reflect.Type {
	out := maps.Clone(sharedTypes)
	for _, d := range documentKinds() {
		if out[d.heading] = d.of; d.of.Kind() == reflect.Slice {
			out[d.heading] = d.of.Elem()
		}
	}
	return out
}

// Every field of every JSON output is on the page, with a "?" where it may be missing, and none is that is not there.
func TestPageHasTheFields(t *testing.T) {
	t.Parallel()
	sections := sectionsOf(t)
	for title, typ := range schemas() {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			section, ok := sections[title]
			require.True(t, ok, "the page has no section of it")
			leaves, inner := map[string]bool{}, map[string]bool{}
			fieldsOf("", typ, leaves, inner)
			got := fieldsIn(section)
			for path := range inner { // a value that has fields may have a row of its own
				if optional, ok := got[path]; ok {
					require.Equal(t, inner[path], optional, "may %s be missing", path)
					delete(got, path)
				}
			}
			require.Equal(t, lines(leaves), lines(got))
		})
	}
	for title := range sections {
		_, known := schemas()[title]
		require.True(t, known || !strings.HasSuffix(title, "-o json"), "the page has %s, which no command prints", title)
	}
}

// The page has every word that stands for a kind, an end, a verdict or a fault.
func TestPageHasTheWords(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for v := range uint8(20) {
		for _, word := range []string{
			proof.Access(v).String(), proof.Vantage(v).String(), proof.Outcome(v).String(), proof.Fault(v).String(), nat.End(v).String(), doctor.Answer(v).String(),
		} {
			if word != "" && !strings.HasSuffix(word, fmt.Sprintf("(%d)", v)) {
				require.Contains(t, string(page), "`"+word+"`")
			}
		}
	}
}

func lines(fields map[string]bool) (out []string) {
	for _, path := range slices.Sorted(maps.Keys(fields)) {
		if fields[path] {
			path += "?"
		}
		out = append(out, path)
	}
	return out
}

// fieldsOf collects the fields of a type, by their paths, and whether each may be missing. A value that has a section of its
// own is one field, with [] where it is a list of them.
func fieldsOf(prefix string, typ reflect.Type, leaves, inner map[string]bool) {
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		path, of := prefix+name, f.Type
		optional := strings.Contains(options, "omit")
		list := ""
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			if of.Kind() == reflect.Slice {
				list = "[]"
			}
			of = of.Elem()
		}
		switch {
		case f.Anonymous && name == "":
			if !shared(of) {
				fieldsOf(prefix, of, leaves, inner)
			}
		case shared(of):
			leaves[path+list] = optional
		case of.Kind() == reflect.Struct && !isText(of):
			inner[path] = optional
			fieldsOf(path+list+".", of, leaves, inner)
		default:
			leaves[path] = optional
		}
	}
}

func shared(typ reflect.Type) bool {
	for _, s := range sharedTypes {
		if s == typ {
			return true
		}
	}
	return false
}

// isText reports whether JSON has a string or a number for a struct.
func isText(typ reflect.Type) bool {
	pointer := reflect.PointerTo(typ)
	return pointer.Implements(reflect.TypeFor[encoding.TextMarshaler]()) || pointer.Implements(reflect.TypeFor[json.Marshaler]())
}

var fieldName = regexp.MustCompile("`([][._a-zA-Z]+)`(\\??)")

// fieldsIn reads the fields of a section's table. One that begins with a dot is beside the one before it.
func fieldsIn(section string) map[string]bool {
	out := map[string]bool{}
	for _, cell := range rowsOf(section) {
		before := ""
		for _, m := range fieldName.FindAllStringSubmatch(cell, -1) {
			path := m[1]
			if strings.HasPrefix(path, ".") {
				path = before[:strings.LastIndex(before, ".")] + path
			}
			out[path], before = m[2] != "", path
		}
	}
	return out
}
