package topology

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	goyaml "go.yaml.in/yaml/v2"
	"sigs.k8s.io/yaml"
)

// Source is one file of the input, or standard input.
type Source struct {
	Name   string // as errors show it
	Reader io.Reader
}

// maxInput is how many bytes all sources of one Load may have together: three times what 10,000 Services with
// three endpoints each take. More is refused before it is read to its end, since YAML takes fifty times its size
// in memory while it is decoded.
const maxInput = 32 << 20

// maxExpansion is how many times its own size a document may grow to when its aliases are followed.
const maxExpansion = 16

// object is one Kubernetes object of the input, not decoded yet.
type object struct {
	origin
	apiVersion string
	kind       string
	raw        json.RawMessage
}

// header is what every object has.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`
}

// read takes all sources apart and hands on one object after the other. A document that cannot be read makes the rest of its file
// unreadable too, so it is the only error of that file.
func (p *problems) read(srcs []Source, each func(object)) {
	left := int64(maxInput)
	for _, src := range srcs {
		data, err := io.ReadAll(io.LimitReader(src.Reader, left+1))
		file := origin{file: src.Name}
		switch {
		case err != nil:
			p.fail(file, "", "read: %v", err)
			return
		case int64(len(data)) > left:
			p.fail(file, "", "the input is larger than %d MiB: select what the lab needs, for example kubectl get nodes,pods,services,endpointslices -A -o yaml", maxInput>>20)
			return
		}
		left -= int64(len(data))
		p.documents(file, data, each)
	}
}

// documents takes one file apart.
func (p *problems) documents(file origin, data []byte, each func(object)) {
	for _, c := range split(data) {
		values, err := c.values()
		if err != nil {
			file.doc++
			p.fail(file, "", "%v", err)
			return
		}
		for _, raw := range values {
			file.doc++
			p.unpack(file, raw, each)
		}
		if c.last && len(values) > 0 && !c.json() && !bytes.HasSuffix(c.text, []byte("\n")) {
			p.warn(file, "the file does not end with a newline: is it cut off?")
		}
	}
}

// unpack reads an object's header and takes a List apart.
func (p *problems) unpack(o origin, raw json.RawMessage, each func(object)) {
	var h header
	if err := json.Unmarshal(raw, &h); err != nil {
		p.fail(o, "", "%v", typeProblem(err))
		return
	}
	if h.Kind == "" && h.Items == nil && h.APIVersion == "" {
		p.fail(o, "", "no apiVersion and no kind: this is not a Kubernetes object, or it is cut off")
		return
	}
	if h.Kind == "" || h.APIVersion == "" {
		p.fail(o, "", "an object needs apiVersion and kind (kubectl writes a List's kind after its items: is the document cut off?)")
		return
	}
	if strings.HasSuffix(h.Kind, "List") && h.Items != nil {
		for i, item := range h.Items {
			o.item = i + 1
			p.unpack(o, inherit(item, h), each)
		}
		return
	}
	if h.Metadata.Namespace == "" && (h.Kind == "Pod" || h.Kind == "Service" || h.Kind == "EndpointSlice" || h.Kind == "Endpoints") {
		h.Metadata.Namespace = "default" // as kubectl apply has it
	}
	p.seen++
	o.seq = p.seen
	switch o.object = h.Kind; {
	case h.Metadata.Namespace != "":
		o.object += " " + h.Metadata.Namespace + "/" + h.Metadata.Name
	case h.Metadata.Name != "":
		o.object += " " + h.Metadata.Name
	}
	each(object{origin: o, apiVersion: h.APIVersion, kind: h.Kind, raw: raw})
}

// inherit gives an item of a typed list (PodList), which the API server prints without kind, the list's.
func inherit(item json.RawMessage, list header) json.RawMessage {
	var h header
	if list.Kind == "List" || json.Unmarshal(item, &h) != nil || h.Kind != "" || len(item) == 0 || item[0] != '{' {
		return item
	}
	head := fmt.Sprintf(`{"apiVersion":%q,"kind":%q`, list.APIVersion, strings.TrimSuffix(list.Kind, "List"))
	if rest := bytes.TrimSpace(item[1:]); !bytes.HasPrefix(rest, []byte("}")) {
		head += ","
	}
	return append(json.RawMessage(head), item[1:]...)
}

// chunk is the text between two document markers.
type chunk struct {
	line int // lines of the file before it
	text []byte
	last bool
}

// split cuts a file at the lines that begin or end a document: "---" and "..." in the first column, which
// YAML allows nowhere else.
func split(data []byte) []chunk {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var out []chunk
	start, startLine, line := 0, 0, 0
	for pos := 0; pos < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		switch text := data[pos:end]; {
		case pos > start && isMarker(text, "---") && !directives(data[start:pos]):
			out = append(out, chunk{line: startLine, text: data[start:pos]})
			start, startLine = pos, line
		case isMarker(text, "..."):
			out = append(out, chunk{line: startLine, text: data[start:pos]})
			start, startLine = end, line+1
		}
		pos = end
	}
	return append(out, chunk{line: startLine, text: data[start:], last: true})
}

// directives reports whether text is what may stand before a document's "---": a line such as "%YAML 1.1" at least,
// and comments.
func directives(text []byte) bool {
	found := false
	for line := range bytes.Lines(text) {
		switch line = bytes.TrimRight(line, " \t\r\n"); {
		case len(line) == 0 || line[0] == '#':
		case line[0] == '%':
			found = true
		default:
			return false
		}
	}
	return found
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0)
}

// body is the chunk without its marker.
func (c chunk) body() []byte { return bytes.TrimSpace(c.unmarked()) }

// unmarked is body with the space around it.
func (c chunk) unmarked() []byte {
	if isMarker(c.text, "---") {
		return c.text[3:]
	}
	return c.text
}

// json reports whether the chunk is written as JSON objects, whose own syntax is stricter than YAML's.
func (c chunk) json() bool {
	rest, ok := bytes.CutPrefix(c.body(), []byte("{"))
	rest = bytes.TrimSpace(rest)
	return ok && (len(rest) == 0 || rest[0] == '"' || rest[0] == '}')
}

// values gives the documents of a chunk as JSON: none for an empty or commented one, several for JSON objects
// that follow each other.
func (c chunk) values() ([]json.RawMessage, error) {
	if c.json() {
		if values, err := jsonValues(c.body()); err == nil {
			return values, nil
		} else if _, yerr := yaml.YAMLToJSON(c.text); yerr != nil {
			return nil, fmt.Errorf("not valid JSON: %w", err)
		}
	}
	if raw, ok := plainYAML(c.unmarked()); ok {
		return []json.RawMessage{raw}, nil
	}
	if err := c.refuseBomb(); err != nil {
		return nil, err
	}
	raw, err := yaml.YAMLToJSONStrict(c.text)
	if err != nil {
		return nil, c.yamlError(err)
	}
	if string(raw) == "null" {
		return nil, nil
	}
	if len(raw) == 0 || raw[0] != '{' {
		return nil, errors.New("want a Kubernetes object (a mapping with apiVersion and kind)")
	}
	return []json.RawMessage{raw}, nil
}

func jsonValues(b []byte) ([]json.RawMessage, error) {
	var out []json.RawMessage
	for dec := json.NewDecoder(bytes.NewReader(b)); ; {
		var raw json.RawMessage
		switch err := dec.Decode(&raw); {
		case errors.Is(err, io.EOF):
			return out, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errors.New("the document ends in the middle: it is cut off")
		case err != nil:
			return nil, err
		case raw[0] != '{':
			return nil, errors.New("want a Kubernetes object ({ ... })")
		}
		out = append(out, raw)
	}
}

// refuseBomb refuses a document whose aliases make it many times as large as it is. The YAML library bounds
// the number of values, not their size, so the size is added up here before anything is copied.
func (c chunk) refuseBomb() error {
	if bytes.IndexByte(c.text, '&') < 0 {
		return nil
	}
	var v any
	if err := goyaml.Unmarshal(c.text, &v); err != nil {
		return c.yamlError(err)
	}
	if limit := maxExpansion*len(c.text) + 1<<16; expanded(v, limit) > limit {
		return fmt.Errorf("its aliases make it more than %d times as large as it is: write the values out", maxExpansion)
	}
	return nil
}

// expanded is about how many bytes v has as JSON; it stops counting above limit.
func expanded(v any, limit int) int {
	n := 4
	switch v := v.(type) {
	case string:
		n += len(v)
	case []any:
		for i := 0; i < len(v) && n <= limit; i++ {
			n += expanded(v[i], limit-n)
		}
	case map[any]any:
		for k, e := range v {
			if n > limit {
				break
			}
			n += expanded(k, limit-n) + expanded(e, limit-n)
		}
	}
	return n
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// yamlError turns the library's message into ours: the line in the file, and a word on documents cut off.
func (c chunk) yamlError(err error) error {
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	text = strings.TrimPrefix(text, "yaml: ")
	text = strings.Join(strings.Fields(strings.TrimPrefix(text, "unmarshal errors:")), " ")
	text = yamlLine.ReplaceAllStringFunc(text, func(s string) string {
		n, aerr := strconv.Atoi(strings.Trim(s, "line: "))
		if aerr != nil {
			return s
		}
		return fmt.Sprintf("line %d: ", n+c.line)
	})
	if strings.Contains(text, "excessive aliasing") {
		return fmt.Errorf("its aliases make it many times as large as it is: write the values out")
	}
	return fmt.Errorf("not valid YAML, or cut off: %s", text)
}

// typeProblem is a JSON type error in the words of the input.
func typeProblem(err error) error {
	var t *json.UnmarshalTypeError
	if !errors.As(err, &t) {
		return err
	}
	want := "a number"
	switch t.Type.Kind().String() {
	case "string":
		want = "a string (quote it)"
	case "slice":
		want = "a list"
	case "struct", "map":
		want = "a mapping"
	case "bool":
		want = "true or false"
	}
	return fmt.Errorf("%s: want %s, not a %s", t.Field, want, t.Value)
}
