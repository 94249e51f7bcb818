package nftables

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

func (w *jsonWriter) statements(all []json.RawMessage) string {
	out := make([]string, len(all))
	for i, raw := range all {
		out[i] = w.statement(raw)
	}
	return strings.Join(out, " ")
}

// statement is a statement's text. One that natlab does not know, or with an expression that it does not
// know, stands in quotes, which the parser keeps as they are.
func (w *jsonWriter) statement(raw json.RawMessage) string {
	key, value, ok := single(raw)
	if !ok {
		return w.failf("statement %s: want an object with one key", raw)
	}
	if jsonVerdict(key) {
		return w.verdict(key, value)
	}
	if row, known := jsonStatements()[key]; known && w.err == nil {
		if text := row(w, value); w.err == nil {
			return text
		}
		w.err = nil
	}
	return "unread " + quote(key+" "+strings.ReplaceAll(string(value), `"`, ""))
}

// jsonStatements is how each statement is written, by its key.
func jsonStatements() map[string]func(w *jsonWriter, raw json.RawMessage) string {
	out := map[string]func(w *jsonWriter, raw json.RawMessage) string{
		"match":   (*jsonWriter).match,
		"vmap":    (*jsonWriter).vmap,
		"mangle":  (*jsonWriter).mangle,
		"counter": (*jsonWriter).counter,
		"limit":   (*jsonWriter).limit,
		"quota":   (*jsonWriter).quota,
		"log":     (*jsonWriter).log,
		"reject":  (*jsonWriter).reject,
		"set":     func(w *jsonWriter, raw json.RawMessage) string { return w.update(raw) },
		"map":     func(w *jsonWriter, raw json.RawMessage) string { return w.update(raw) },
		"notrack": func(*jsonWriter, json.RawMessage) string { return "notrack" },
		"ct helper": func(w *jsonWriter, raw json.RawMessage) string {
			return "ct helper set " + quote(w.text(raw))
		},
		"ct count": func(w *jsonWriter, raw json.RawMessage) string {
			var o struct {
				Val uint64
				Inv bool
			}
			w.read(raw, &o)
			if o.Inv {
				return fmt.Sprintf("ct count over %d", o.Val)
			}
			return fmt.Sprintf("ct count %d", o.Val)
		},
		"xt": func(w *jsonWriter, raw json.RawMessage) string {
			var o struct{ Type, Name string }
			w.read(raw, &o)
			return "xt " + o.Type + " " + quote(o.Name)
		},
		"queue": (*jsonWriter).queue,
	}
	for _, word := range natWords {
		if word != "" {
			out[word] = func(w *jsonWriter, raw json.RawMessage) string { return w.nat(word, raw) }
		}
	}
	return out
}

// match is "left op right". "in" is what text has no word for, and "==" too but for a sum of bits.
func (w *jsonWriter) match(raw json.RawMessage) string {
	var o struct {
		Op          string
		Left, Right json.RawMessage
	}
	w.read(raw, &o)
	left, right := w.expr(o.Left), w.expr(o.Right)
	key, _, _ := single(o.Left)
	masked := slices.Contains([]string{"&", "|", "^", "<<", ">>"}, key)
	bits := slices.Contains([]string{"ct state", "ct status", "ct event", "tcp flags"}, left)
	if left == "meta hour" || left == "meta day" || left == "meta time" {
		low, high, spans := strings.Cut(right, "-")
		if right = quote(right); spans && left == "meta hour" {
			right = quote(low) + "-" + quote(high)
		}
	}
	if sub, _, ok := single(o.Right); o.Op == "in" || o.Op == "==" && !masked && (!bits || ok && sub == "set") {
		return left + " " + right
	}
	return left + " " + o.Op + " " + right
}

func (w *jsonWriter) vmap(raw json.RawMessage) string {
	var o struct{ Key, Data json.RawMessage }
	w.read(raw, &o)
	return w.expr(o.Key) + " vmap " + w.expr(o.Data)
}

func (w *jsonWriter) mangle(raw json.RawMessage) string {
	var o struct{ Key, Value json.RawMessage }
	w.read(raw, &o)
	return w.expr(o.Key) + " set " + w.expr(o.Value)
}

// counter is `counter packets 1 bytes 2`, or a named one.
func (w *jsonWriter) counter(raw json.RawMessage) string {
	var o Counter
	switch {
	case string(raw) == "null":
		return "counter"
	case raw[0] == '"':
		return "counter name " + quote(w.text(raw))
	}
	w.read(raw, &o)
	return o.String()
}

func (w *jsonWriter) limit(raw json.RawMessage) string {
	if raw[0] == '"' {
		return "limit name " + quote(w.text(raw))
	}
	var o struct {
		Rate, Burst uint64
		Per         string
		Inv         bool
		RateUnit    string `json:"rate_unit"`
		BurstUnit   string `json:"burst_unit"`
	}
	w.read(raw, &o)
	out := "limit rate "
	if o.Inv {
		out += "over "
	}
	if o.RateUnit == "" || o.RateUnit == "packets" {
		return out + fmt.Sprintf("%d/%s burst %d packets", o.Rate, o.Per, o.Burst)
	}
	out += fmt.Sprintf("%d %s/%s", o.Rate, o.RateUnit, o.Per)
	if o.Burst != 0 {
		out += fmt.Sprintf(" burst %d %s", o.Burst, o.BurstUnit)
	}
	return out
}

func (w *jsonWriter) quota(raw json.RawMessage) string {
	if raw[0] == '"' {
		return "quota name " + quote(w.text(raw))
	}
	var o struct {
		Val, Used uint64
		Unit      string `json:"val_unit"`
		UsedUnit  string `json:"used_unit"`
		Inv       bool
	}
	w.read(raw, &o)
	out := "quota "
	if o.Inv {
		out += "over "
	}
	out += fmt.Sprintf("%d %s", o.Val, o.Unit)
	if o.Used != 0 {
		out += fmt.Sprintf(" used %d %s", o.Used, o.UsedUnit)
	}
	return out
}

func (w *jsonWriter) log(raw json.RawMessage) string {
	var o struct {
		Prefix, Level string
		Group         *int
		Snaplen       int
		Threshold     int `json:"queue-threshold"`
		Flags         jsonWords
	}
	w.read(raw, &o)
	out := "log"
	if o.Prefix != "" {
		out += " prefix " + quote(o.Prefix)
	}
	if o.Group != nil {
		out += fmt.Sprintf(" group %d", *o.Group)
	}
	if o.Snaplen != 0 {
		out += fmt.Sprintf(" snaplen %d", o.Snaplen)
	}
	if o.Threshold != 0 {
		out += fmt.Sprintf(" queue-threshold %d", o.Threshold)
	}
	if o.Level != "" {
		out += " level " + o.Level
	}
	if len(o.Flags) > 0 {
		out += " flags " + strings.Join(o.Flags, ",")
	}
	return out
}

func (w *jsonWriter) reject(raw json.RawMessage) string {
	var o struct{ Type, Expr string }
	w.read(raw, &o)
	if o.Type == "" || o.Type == "icmpx" && o.Expr == "port-unreachable" {
		return "reject"
	}
	return strings.TrimSpace("reject with " + o.Type + " " + o.Expr)
}

func (w *jsonWriter) update(raw json.RawMessage) string {
	var o struct {
		Op, Set, Map string
		Elem, Data   json.RawMessage
		Stmt         []json.RawMessage
	}
	w.read(raw, &o)
	out := o.Op + " " + o.Set + o.Map + " { " + w.expr(o.Elem)
	out = strings.TrimSuffix(out+" "+w.statements(o.Stmt), " ")
	if len(o.Data) > 0 {
		out += " : " + w.expr(o.Data)
	}
	return out + " }"
}

func (w *jsonWriter) queue(raw json.RawMessage) string {
	var o struct {
		Num   json.RawMessage
		Flags jsonWords
	}
	w.read(raw, &o)
	out := "queue"
	if len(o.Flags) > 0 {
		out += " flags " + strings.Join(o.Flags, ",")
	}
	if len(o.Num) > 0 {
		out += " to " + w.expr(o.Num)
	}
	return out
}

// nat is a translation.
func (w *jsonWriter) nat(word string, raw json.RawMessage) string {
	var o struct {
		Family     string
		Addr, Port json.RawMessage
		Flags      jsonWords
		TypeFlags  jsonWords `json:"type_flags"`
	}
	w.read(raw, &o)
	if o.Family != "" {
		word += " " + o.Family
	}
	if slices.Contains(o.TypeFlags, "prefix") {
		word += " prefix"
	}
	if slices.Contains(o.TypeFlags, "concat") {
		word += " addr . port"
	}
	to := ""
	if len(o.Addr) > 0 {
		to = w.expr(o.Addr)
	}
	if len(o.Port) > 0 {
		if strings.Contains(to, ":") {
			low, high, spans := strings.Cut(to, "-")
			if to = "[" + low + "]"; spans {
				to += "-[" + high + "]"
			}
		}
		to += ":" + w.expr(o.Port)
	}
	if to != "" {
		word += " to " + to
	}
	if flags := slices.DeleteFunc(o.Flags, func(f string) bool { return f == "netmap" }); len(flags) > 0 {
		word += " " + strings.Join(flags, ",")
	}
	return word
}
