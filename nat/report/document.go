package report

import (
	"bytes"
	"encoding"
	"encoding/json"
	"io"
	"reflect"
	"strings"
)

// APIVersion is the apiVersion of every JSON document that natlab prints of its own.
const APIVersion = "natlab/v1alpha1"

// The kinds of documents that this package writes.
const (
	KindProof = "ProofReport"
	KindFlow  = "Flow"
)

// Document writes a value as one JSON document, with its apiVersion and its kind in front of its fields, as Kubernetes has them. A slice becomes
// the items of a document of that kind. A list is never null, and a ">" of a tuple is left as it is.
func Document(w io.Writer, kind string, v any) error {
	head, err := headOf(kind)
	if err != nil {
		return err
	}
	e := json.NewEncoder(&behindHead{w: w, head: head})
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(valueOf(v))
}

// behindHead writes an object with the fields of a head in front of its own. The object comes in one piece, as an Encoder writes it, and is not copied: those
// of large clusters have many MiB.
type behindHead struct {
	w    io.Writer
	head []byte
}

// Write is io.Writer's.
func (h *behindHead) Write(object []byte) (int, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, h.head, "", "  "); err != nil {
		return 0, err
	}
	b.Truncate(b.Len() - len("\n}"))
	rest := bytes.TrimPrefix(object, []byte("{"))
	if bytes.HasPrefix(rest, []byte("}")) { // it has no fields
		b.WriteByte('\n')
	} else {
		b.WriteByte(',')
	}
	if _, err := h.w.Write(b.Bytes()); err != nil {
		return 0, err
	}
	n, err := h.w.Write(rest)
	return n + len(object) - len(rest), err
}

// headOf are the fields that every document begins with.
func headOf(kind string) ([]byte, error) {
	return json.Marshal(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}{APIVersion, kind})
}

// valueOf is a value as a document has it.
func valueOf(v any) any {
	value := reflect.ValueOf(v)
	if value.IsValid() && value.Kind() == reflect.Slice {
		return struct {
			Items any `json:"items"`
		}{whole(value).Interface()}
	}
	if value.IsValid() {
		return whole(value).Interface()
	}
	return v
}

// document is the value as a document in one line, without the line's end.
func document(kind string, v any) ([]byte, error) {
	head, err := headOf(kind)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(valueOf(v)); err != nil {
		return nil, err
	}
	fields := bytes.TrimPrefix(bytes.TrimSpace(b.Bytes()), []byte("{"))
	if len(fields) > 1 {
		head = append(head[:len(head)-1], ',')
	} else {
		head = head[:len(head)-1]
	}
	return append(head, fields...), nil
}

// whole is a value in which no list is nil: a reader goes through it without asking. What has a JSON form of its own is left as it is.
func whole(v reflect.Value) reflect.Value {
	switch v.Kind() { //nolint:exhaustive // the others hold no list, or are the type's own business
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 || !lacks(v) { // a string in JSON, or as it has to be
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(whole(v.Index(i)))
		}
		return out
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() || written(v.Type()) {
			return v
		}
		if v.Kind() == reflect.Interface {
			return whole(v.Elem())
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(whole(v.Elem()))
		return out
	case reflect.Struct:
		if written(v.Type()) {
			return v
		}
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !strings.Contains(f.Tag.Get("json"), ",omitzero") {
				out.Field(i).Set(whole(v.Field(i)))
			}
		}
		return out
	}
	return v
}

// lacks reports whether a list in a value is nil that whole makes an empty one: others need no copy.
func lacks(v reflect.Value) bool {
	switch v.Kind() { //nolint:exhaustive // as whole has it
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return false
		}
		for i := range v.Len() {
			if lacks(v.Index(i)) {
				return true
			}
		}
		return v.IsNil()
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil() && !written(v.Type()) && lacks(v.Elem())
	case reflect.Struct:
		if written(v.Type()) {
			return false
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && !strings.Contains(f.Tag.Get("json"), ",omitzero") && lacks(v.Field(i)) {
				return true
			}
		}
	}
	return false
}

// written reports whether a type writes its JSON itself.
func written(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}
