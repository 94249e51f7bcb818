package nftables

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

func jsonVerdict(key string) bool {
	return slices.Contains([]string{"accept", "drop", "continue", "return", "jump", "goto"}, key)
}

// verdict is `jump x` of {"jump": {"target": "x"}}.
func (w *jsonWriter) verdict(key string, raw json.RawMessage) string {
	var to struct{ Target string }
	if key == "jump" || key == "goto" {
		w.read(raw, &to)
		return key + " " + to.Target
	}
	return key
}

// expr is an expression's text.
func (w *jsonWriter) expr(raw json.RawMessage) string {
	switch {
	case len(raw) == 0:
		return w.failf("an expression is missing")
	case raw[0] == '"':
		return w.text(raw)
	case raw[0] == '[': // a sum of bits
		return w.joined(raw, ",")
	case string(raw) == "true":
		return "exists"
	case string(raw) == "false":
		return "missing"
	case raw[0] != '{':
		return string(raw)
	}
	key, value, ok := single(raw)
	row, known := jsonExprs()[key]
	if !ok || !known {
		return w.failf("expression %s is not one that natlab knows", raw)
	}
	return row(w, value)
}

// joined are expressions with something between them.
func (w *jsonWriter) joined(raw json.RawMessage, sep string) string {
	var parts []json.RawMessage
	w.read(raw, &parts)
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = w.expr(p)
	}
	return strings.Join(out, sep)
}

// jsonExprs is how each expression is written, by its key. It is a function because the rows write expressions.
func jsonExprs() map[string]func(w *jsonWriter, raw json.RawMessage) string {
	out := map[string]func(w *jsonWriter, raw json.RawMessage) string{
		"concat":  func(w *jsonWriter, raw json.RawMessage) string { return w.joined(raw, " . ") },
		"range":   func(w *jsonWriter, raw json.RawMessage) string { return w.joined(raw, "-") },
		"prefix":  (*jsonWriter).prefix,
		"set":     (*jsonWriter).anonymous,
		"map":     (*jsonWriter).mapOf,
		"elem":    (*jsonWriter).elem,
		"fib":     (*jsonWriter).fib,
		"numgen":  (*jsonWriter).numgen,
		"jhash":   func(w *jsonWriter, raw json.RawMessage) string { return w.hash("jhash", raw) },
		"symhash": func(w *jsonWriter, raw json.RawMessage) string { return w.hash("symhash", raw) },
		"payload": func(w *jsonWriter, raw json.RawMessage) string {
			var o struct {
				Protocol, Field, Base string
				Offset, Len           int
			}
			w.read(raw, &o)
			if o.Base != "" {
				return fmt.Sprintf("@%s,%d,%d", o.Base, o.Offset, o.Len)
			}
			return o.Protocol + " " + o.Field
		},
	}
	for _, word := range []string{"meta", "ct", "rt", "socket", "osf", "exthdr", "ip option", "tcp option"} {
		out[word] = func(w *jsonWriter, raw json.RawMessage) string {
			var o struct{ Key, Name, Field, Family, Dir string }
			w.read(raw, &o)
			words := []string{word, o.Dir, o.Family, o.Key, o.Name, o.Field}
			return strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " ")
		}
	}
	for _, op := range []string{"&", "|", "^", "<<", ">>"} {
		out[op] = func(w *jsonWriter, raw json.RawMessage) string {
			var sides []json.RawMessage
			if !w.read(raw, &sides) || len(sides) != 2 {
				return w.failf("%s %s: want two sides", op, raw)
			}
			right := w.expr(sides[1])
			if sides[1][0] == '[' {
				right = "(" + w.joined(sides[1], " | ") + ")"
			}
			return w.expr(sides[0]) + " " + op + " " + right
		}
	}
	return out
}

func (w *jsonWriter) prefix(raw json.RawMessage) string {
	var o struct {
		Addr json.RawMessage
		Len  int
	}
	w.read(raw, &o)
	return fmt.Sprintf("%s/%d", w.expr(o.Addr), o.Len)
}

func (w *jsonWriter) anonymous(raw json.RawMessage) string {
	var all []json.RawMessage
	if raw[0] != '[' { // of one element
		all = []json.RawMessage{raw}
	} else {
		w.read(raw, &all)
	}
	return w.elements(all)
}

func (w *jsonWriter) mapOf(raw json.RawMessage) string {
	var o struct{ Key, Data json.RawMessage }
	w.read(raw, &o)
	return w.expr(o.Key) + " map " + w.expr(o.Data)
}

func (w *jsonWriter) elem(raw json.RawMessage) string {
	var o struct {
		Val, Counter, Limit json.RawMessage
		Timeout, Expires    uint64
		Comment             string
	}
	w.read(raw, &o)
	out := w.expr(o.Val)
	if len(o.Counter) > 0 {
		out += " " + w.counter(o.Counter)
	}
	if len(o.Limit) > 0 {
		out += " " + w.limit(o.Limit)
	}
	if o.Timeout > 0 {
		out += fmt.Sprintf(" timeout %ds", o.Timeout)
	}
	if o.Expires > 0 {
		out += fmt.Sprintf(" expires %ds", o.Expires)
	}
	if o.Comment != "" {
		out += " comment " + quote(o.Comment)
	}
	return out
}

func (w *jsonWriter) fib(raw json.RawMessage) string {
	var o struct {
		Result string
		Flags  jsonWords
	}
	w.read(raw, &o)
	return "fib " + strings.Join(o.Flags, " . ") + " " + o.Result
}

func (w *jsonWriter) numgen(raw json.RawMessage) string {
	var o struct {
		Mode        string
		Mod, Offset uint32
	}
	w.read(raw, &o)
	return NumGen{o.Mode == "inc", o.Mod, o.Offset}.String()
}

func (w *jsonWriter) hash(word string, raw json.RawMessage) string {
	var o struct {
		Mod, Offset, Seed uint32
		Expr              json.RawMessage
	}
	w.read(raw, &o)
	if len(o.Expr) > 0 {
		word += " " + w.expr(o.Expr)
	}
	word += " mod " + decimalOf(o.Mod)
	if o.Seed != 0 {
		word += fmt.Sprintf(" seed 0x%x", o.Seed)
	}
	return word + offset(o.Offset)
}
