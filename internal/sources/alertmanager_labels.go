package sources

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// alertmanagerLabels reads the label sets out of what Alertmanager's PagerDuty notifier puts into the details `firing` and
// `resolved` by default: a list of alerts (seen in 0.34) or, in older versions (seen in 0.25), the text of the template
// "pagerduty.default.instances". count is the detail `num_firing` or `num_resolved`, nil when it is not known.
//
// The text does not escape values, so that one with line breaks can pretend to be another alert or label. What betrays it is refused:
// a number of alerts other than count, a label given twice, labels out of the template's order, a heading out of place. What does not
// is taken for real: whoever decides over a label's value can thereby add a label whose name sorts between that one and the next.
// The list, and Alertmanager's own webhook, have no such weakness.
func alertmanagerLabels(list, count any) ([]map[string]string, error) {
	sets, err := readAlertmanagerAlerts(list)
	if err != nil {
		return nil, fmt.Errorf("reading Alertmanager's alerts from the details: %w", err)
	}
	if count == nil {
		return sets, nil
	}
	if given := strings.TrimSpace(fmt.Sprint(count)); given != strconv.Itoa(len(sets)) {
		return nil, fmt.Errorf("reading Alertmanager's alerts from the details: they are %d, but their number is given as %q",
			len(sets), clip(given))
	}
	return sets, nil
}

func readAlertmanagerAlerts(list any) ([]map[string]string, error) {
	switch list := list.(type) {
	case string:
		return parseAlertList(list)
	case []any:
		return listedLabels(list)
	default:
		return nil, errors.New("they are neither a text nor a list")
	}
}

func listedLabels(list []any) ([]map[string]string, error) {
	sets := make([]map[string]string, 0, len(list))
	for i, item := range list {
		labels := labelsOf(item)
		if labels == nil {
			return nil, fmt.Errorf("alert %d has no labels", i+1)
		}
		set := make(map[string]string, len(labels))
		for name, value := range labels {
			text, ok := value.(string)
			if !ok {
				return nil, fmt.Errorf("label %q of alert %d is not a text", clip(name), i+1)
			}
			set[name] = text
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// labelsOf gives the labels of one alert of the list, nil when there are none.
func labelsOf(item any) map[string]any {
	fields, _ := item.(map[string]any)
	labels, _ := fields["labels"].(map[string]any)
	return labels
}

// The headings of the template; "Source: " is followed by a link, which may be empty and its space trimmed.
const (
	labelsHeading      = "Labels:"
	annotationsHeading = "Annotations:"
	sourceHeading      = "Source:"
)

// alertList reads the text line by line. A line that is neither a heading nor a pair continues the value before it.
type alertList struct {
	lines []string
	at    int
}

func parseAlertList(text string) ([]map[string]string, error) {
	text = strings.Trim(text, "\n")
	if text == "" {
		return nil, nil
	}
	list := alertList{lines: strings.Split(text, "\n")}
	var sets []map[string]string
	for list.at < len(list.lines) {
		set, err := list.alert()
		if err != nil {
			return nil, fmt.Errorf("alert %d, line %d: %w", len(sets)+1, list.at+1, err)
		}
		sets = append(sets, set)
	}
	return sets, nil
}

func (l *alertList) alert() (map[string]string, error) {
	if l.lines[l.at] != labelsHeading {
		return nil, errors.New(`"Labels:" is missing`)
	}
	l.at++
	set, err := l.labels()
	if err != nil {
		return nil, err
	}
	return set, l.skipAnnotations()
}

// labels reads up to and with the heading of the annotations.
func (l *alertList) labels() (map[string]string, error) {
	set := map[string]string{}
	last := "" // the label whose value may go on
	for ; l.at < len(l.lines); l.at++ {
		line := l.lines[l.at]
		if line == annotationsHeading {
			l.at++
			return set, nil
		}
		name, value, isPair := pair(line)
		switch {
		case line == labelsHeading:
			return nil, errors.New(`a second "Labels:" where labels or "Annotations:" should be`)
		case isPair:
			if err := inOrder(set, last, name); err != nil {
				return nil, err
			}
			set[name], last = value, name
		case last == "":
			return nil, errors.New("a label should be here")
		default:
			set[last] += "\n" + line
		}
	}
	return nil, errors.New(`"Annotations:" is missing`)
}

// skipAnnotations reads up to and with the source. A line that begins like the source belongs to an annotation unless the text ends
// or the next alert begins behind it.
func (l *alertList) skipAnnotations() error {
	for ; l.at < len(l.lines); l.at++ {
		line := l.lines[l.at]
		if line == labelsHeading || line == annotationsHeading {
			return fmt.Errorf("%q within the annotations: the text can be read in two ways", line)
		}
		last := l.at+1 == len(l.lines)
		if strings.HasPrefix(line, sourceHeading) && (last || l.lines[l.at+1] == labelsHeading) {
			l.at++
			return nil
		}
	}
	return errors.New(`"Source:" is missing`)
}

// pair reads " - name = value"; the value may hold " = " too.
func pair(line string) (name, value string, ok bool) {
	rest, ok := strings.CutPrefix(line, " - ")
	if !ok {
		return "", "", false
	}
	name, value, ok = strings.Cut(rest, " = ")
	return name, value, ok && name != ""
}

// inOrder checks the order of Alertmanager's SortedPairs: alertname first, then by name.
func inOrder(set map[string]string, last, name string) error {
	if _, twice := set[name]; twice {
		return fmt.Errorf("label %q is given twice", clip(name))
	}
	if name == "alertname" && last != "" || last != "" && last != "alertname" && name < last {
		return fmt.Errorf("label %q is out of order", clip(name))
	}
	return nil
}
