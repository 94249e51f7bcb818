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
	compact, err := document(kind, v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, compact, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return err
}

// document is the value as a document in one line, without the line's end.
func document(kind string, v any) ([]byte, error) {
	value := reflect.ValueOf(v)
	if value.IsValid() && value.Kind() == reflect.Slice {
		v = struct {
			Items any `json:"items"`
		}{whole(value).Interface()}
	} else if value.IsValid() {
		v = whole(value).Interface()
	}
	head, err := json.Marshal(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}{APIVersion, kind})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
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
		if v.Type().Elem().Kind() == reflect.Uint8 { // a string in JSON
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

// written reports whether a type writes its JSON itself.
func written(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}
