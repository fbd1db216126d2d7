#!/bin/bash
# Jinjava ignores the condition of a for loop, so a chat template can render messages that it excludes.
#
# Jinja's "for x in list if condition" visits only what fulfils the condition. Jinjava visits everything and reports
# no error, not even in the list of errors of the result. A chat template that prints the system message first and
# then "messages if not system" prints the system message twice. Other differences are errors; this one is not.
. "$(dirname "$0")/common.sh"

maven com.hubspot.jinjava:jinjava:2.8.0
seen=$(java_program Loop <<'JAVA'
import com.hubspot.jinjava.Jinjava;
import java.util.*;

public class Loop {
    public static void main(String[] args) {
        var messages = List.of(Map.of("role", "system", "content", "Be kind."), Map.of("role", "user", "content", "Hi"));
        var result = new Jinjava().renderForResult("""
                {{ messages[0].content }}{% for m in messages if m.role != 'system' %}[{{ m.role }}: {{ m.content }}]{% endfor %}""",
                Map.of("messages", messages));
        System.out.println(result.getOutput());
        System.out.println("errors: " + result.getErrors());
    }
}
JAVA
)
echo "com.hubspot.jinjava:jinjava 2.8.0; Jinja prints: Be kind.[user: Hi]"
same "Be kind.[system: Be kind.][user: Hi]
errors: []" "$seen"
