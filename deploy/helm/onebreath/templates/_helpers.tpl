{{- define "onebreath.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "onebreath.selector" -}}
app.kubernetes.io/name: onebreath
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "onebreath.labels" -}}
{{ include "onebreath.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "onebreath.secret" -}}
{{- .Values.sharedKey.existingSecret | default (printf "%s-shared-key" (include "onebreath.name" .)) -}}
{{- end -}}

{{- /* Seconds that a pod has to end: the calls may finish, then the agent says goodbye. */ -}}
{{- define "onebreath.grace" -}}
{{- $server := .Values.settings.server | default dict -}}
{{- add (int (get $server "drain_seconds" | default 600)) 40 -}}
{{- end -}}
