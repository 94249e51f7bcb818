package topology

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The manual has every field of the Lab document, and none that is not there.
func TestPageHasTheLabDocument(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../cmd/natlab/README.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(page), "\n## The Lab document\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(section, -1) {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			got = append(got, name[1])
		}
	}
	var want []string
	var walk func(string, reflect.Type)
	walk = func(prefix string, of reflect.Type) {
		for f := range of.Fields() {
			path := prefix + f.Tag.Get("json")
			switch list := f.Type.Kind() == reflect.Slice; {
			case f.Type.Kind() == reflect.Struct:
				walk(path+".", f.Type)
			case list && f.Type.Elem().Kind() == reflect.Struct:
				walk(path+"[].", f.Type.Elem())
			default:
				want = append(want, path)
			}
		}
	}
	walk("", reflect.TypeFor[labDocument]())
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)
}
