{{- /* The variables of `check`, as a JSON object: those that every sidecar has from the
     values, of two of one name the one that it has (sidecar.rs). The journal's sizes are
     those that are written, as in a pod with its journal on a claim: where the injector
     sets them they fit, whatever is written (journal.rs). */}}
{{- define "understudy.checked" -}}
{{- $all := dict "UNDERSTUDY_STATE_DIR" "/tmp" }}
{{- /* What a Secret has, or another variable, is known in the pod only. */}}
{{- $unknown := dict }}
{{- range .Values.sidecar.env | default list }}
{{- $value := .value | default "" }}
{{- if or (hasKey $all .name) (hasKey $unknown .name) }}
{{- else if or .valueFrom (contains "$(" $value) }}
{{- $_ := set $unknown .name (ternary "http://in-the-pod.invalid" "in-the-pod" (hasSuffix "_BASE_URL" .name)) }}
{{- else }}
{{- $_ := set $all .name $value }}
{{- end }}
{{- end }}
{{- range $name, $value := include "understudy.environment" (dict "prefix" "UNDERSTUDY" "config" (include "understudy.config" . | fromJson)) | fromJson }}
{{- if not (or (hasKey $all $name) (hasKey $unknown $name)) }}{{ $_ := set $all $name $value }}{{ end }}
{{- end }}
{{- /* A section that lacked these would be a mistake: something stands in for them. */}}
{{- range $name, $value := $unknown }}
{{- if regexMatch "^UNDERSTUDY_((PROVIDERS|REMOTE)_.+_BASE_URL|REMOTE_.+_MODEL)$" $name }}{{ $_ := set $all $name $value }}{{ end }}
{{- end }}
{{- $all | toJson }}
{{- end }}
