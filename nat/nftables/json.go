package nftables

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// ParseJSON reads what `nft -j list ruleset` prints (libnftables-json(5)), into what Parse reads of the same rules as text. It does not tell
// all that the text does: nft 1.0.6 leaves out the flag dynamic and what a set was declared by in place of types.
func ParseJSON(r io.Reader) (Ruleset, error) {
	var doc struct {
		Items []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.NewDecoder(r).Decode(&doc); err != nil {
		return Ruleset{}, fmt.Errorf("nft -j: %w", err)
	}
	j := jsonTables{bodies: map[string]*jsonTable{}}
	for i, item := range doc.Items {
		for kind, raw := range item {
			if err := j.item(kind, raw); err != nil {
				return Ruleset{}, fmt.Errorf("nft -j: item %d, %s: %w", i+1, kind, err)
			}
		}
	}
	return ParseText(j.text())
}

// jsonTables are tables on their way from JSON to text.
type jsonTables struct {
	order  []string // "ip nat"
	bodies map[string]*jsonTable
}

type jsonTable struct {
	head   []string // comment, flags
	sets   []string
	chains []string
	rules  map[string][]string
	bases  map[string][]string
}

// jsonItem has the fields of all kinds of items.
type jsonItem struct {
	Family, Name, Table, Chain, Comment string
	Flags                               jsonWords
	Type, Map                           json.RawMessage
	Hook, Policy, Dev                   json.RawMessage
	Prio                                int
	Handle                              uint64
	Expr, Elem, Stmt                    []json.RawMessage
	Size, Timeout                       uint64
	GC                                  uint64 `json:"gc-interval"`
	AutoMerge                           bool   `json:"auto-merge"`
}

// jsonWords are a word or several.
type jsonWords []string

// UnmarshalJSON reads "a" and ["a", "b"].
func (w *jsonWords) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*w = jsonWords{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(w))
}

// item takes one item in.
func (j *jsonTables) item(kind string, raw json.RawMessage) error {
	var it jsonItem
	if kind == "metainfo" {
		return nil
	}
	if err := json.Unmarshal(raw, &it); err != nil {
		return err
	}
	name := it.Family + " " + it.Table
	if kind == "table" {
		name = it.Family + " " + it.Name
	}
	t := j.bodies[name]
	if t == nil {
		t = &jsonTable{rules: map[string][]string{}, bases: map[string][]string{}}
		j.bodies[name], j.order = t, append(j.order, name)
	}
	w := jsonWriter{}
	switch kind {
	case "table":
		t.head = append(w.comment(it.Comment), flagsLine(it.Flags)...)
	case "chain":
		t.chains = append(t.chains, it.Name)
		t.bases[it.Name] = w.base(&it)
	case "rule":
		text := w.statements(it.Expr)
		if it.Comment != "" {
			text += " comment " + quote(it.Comment)
		}
		t.rules[it.Chain] = append(t.rules[it.Chain], fmt.Sprintf("%s # handle %d", text, it.Handle))
	case "set", "map":
		t.sets = append(t.sets, w.set(kind, &it))
	}
	return w.err
}

func flagsLine(flags []string) []string {
	if len(flags) == 0 {
		return nil
	}
	return []string{"flags " + strings.Join(flags, ",")}
}

// text is the tables as nft lists them, as far as the parser cares.
func (j *jsonTables) text() string {
	var b strings.Builder
	lines := func(all ...string) {
		for _, l := range all {
			b.WriteString(l + "\n")
		}
	}
	for _, name := range j.order {
		t := j.bodies[name]
		lines("table " + name + " {")
		lines(t.head...)
		lines(t.sets...)
		for _, chain := range t.chains {
			lines("chain " + chain + " {")
			lines(t.bases[chain]...)
			lines(t.rules[chain]...)
			lines("}")
		}
		lines("}")
	}
	return b.String()
}

// jsonWriter writes JSON's expressions as text. The first error stays.
type jsonWriter struct{ err error }

func (w *jsonWriter) failf(format string, args ...any) string {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
	return ""
}

// read decodes a part.
func (w *jsonWriter) read(raw json.RawMessage, into any) bool {
	if err := json.Unmarshal(raw, into); err != nil {
		w.failf("%s: %w", raw, err)
		return false
	}
	return true
}

func (w *jsonWriter) comment(text string) []string {
	if text == "" {
		return nil
	}
	return []string{"comment " + quote(text)}
}

func (w *jsonWriter) base(it *jsonItem) []string {
	out := w.comment(it.Comment)
	if len(it.Hook) == 0 {
		return out
	}
	line := fmt.Sprintf("type %s hook %s", w.text(it.Type), w.text(it.Hook))
	var devices jsonWords
	if len(it.Dev) > 0 && w.read(it.Dev, &devices) {
		line += " devices = { " + strings.Join(devices, ", ") + " }"
	}
	policy := "accept"
	if len(it.Policy) > 0 {
		policy = w.text(it.Policy)
	}
	return append(out, fmt.Sprintf("%s priority %d; policy %s;", line, it.Prio, policy))
}

// text is a JSON string's.
func (w *jsonWriter) text(raw json.RawMessage) (s string) {
	w.read(raw, &s)
	return s
}

// set is a set's or a map's block.
func (w *jsonWriter) set(kind string, it *jsonItem) string {
	var types, data jsonWords
	w.read(it.Type, &types)
	lines := []string{kind + " " + it.Name + " {", "type " + strings.Join(types, " . ")}
	if len(it.Map) > 0 && w.read(it.Map, &data) {
		lines[1] += " : " + strings.Join(data, " . ")
	}
	for _, st := range it.Stmt {
		lines = append(lines, w.statement(st))
	}
	lines = append(lines, flagsLine(it.Flags)...)
	lines = append(lines, w.comment(it.Comment)...)
	for _, f := range []struct {
		word string
		n    uint64
	}{{"size", it.Size}, {"timeout", it.Timeout}, {"gc-interval", it.GC}} {
		if f.n > 0 {
			lines = append(lines, fmt.Sprintf("%s %d", f.word, f.n))
		}
	}
	if it.AutoMerge {
		lines = append(lines, "auto-merge")
	}
	if len(it.Elem) > 0 {
		lines = append(lines, "elements = "+w.elements(it.Elem))
	}
	return strings.Join(append(lines, "}"), "\n")
}

// elements are "{ a, b : c }".
func (w *jsonWriter) elements(all []json.RawMessage) string {
	out := make([]string, len(all))
	for i, raw := range all {
		var pair []json.RawMessage
		if len(raw) > 0 && raw[0] == '[' && w.read(raw, &pair) && len(pair) == 2 {
			out[i] = w.expr(pair[0]) + " : " + w.mapped(pair[1])
			continue
		}
		out[i] = w.expr(raw)
	}
	return "{ " + strings.Join(out, ", ") + " }"
}

// mapped is what a map leads to: a verdict or a value.
func (w *jsonWriter) mapped(raw json.RawMessage) string {
	if key, value, ok := single(raw); ok && jsonVerdict(key) {
		return w.verdict(key, value)
	}
	return w.expr(raw)
}

// single is the only field of an object.
func single(raw json.RawMessage) (key string, value json.RawMessage, ok bool) {
	var o map[string]json.RawMessage
	if json.Unmarshal(raw, &o) != nil || len(o) != 1 {
		return "", nil, false
	}
	for key, value = range o {
	}
	return key, value, true
}
